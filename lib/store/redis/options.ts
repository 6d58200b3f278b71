import { type Option, option, readOptions, refuse, string } from '../../record/option.js'
import { KNOWN_CLIENTS, type RedisClient } from './client.js'

export interface RedisStoreOptions {
  /**
   * A connected client of `redis` (node-redis), `ioredis`, `iovalkey` or `@valkey/valkey-glide`. The
   * application closes it.
   */
  client: RedisClient
  /**
   * What the names of all keys begin with. Default `session:`. Give each application its own. It
   * has no braces, by which a cluster would put all sessions into one slot.
   */
  prefix?: string
  /**
   * How many replicas must have a change of a session before it is acknowledged. Default 0: what
   * a primary has acknowledged is lost if it dies before a replica has it. With a cluster of
   * node-redis it needs version 6, and with `@valkey/valkey-glide` it is refused.
   */
  replicas?: number
}

const DEFAULT_PREFIX = 'session:'

const OPTIONS = {
  client: option(anyClient, undefined),
  prefix: option(anyPrefix, DEFAULT_PREFIX),
  replicas: option(anyCount, 0)
} satisfies Record<keyof RedisStoreOptions, Option<unknown>>

const HINTS = { timeout: "use the plugin's option storeTimeout" }

/** `connectionOf` finds out which kind of client it is. */
function anyClient(value: unknown, name: string): RedisClient {
  if (typeof value !== 'object' || value === null) {
    refuse(name, `must be ${KNOWN_CLIENTS}`)
  }
  return value as RedisClient
}

function anyCount(value: unknown, name: string): number {
  if (Number.isSafeInteger(value) && Number(value) >= 0) return Number(value)
  return refuse(name, 'must be a whole number, 0 or more')
}

function anyPrefix(value: unknown, name: string): string {
  const prefix = string(value, name)
  if (/[{}]/.test(prefix)) {
    refuse(
      name,
      'must have no braces: a cluster would put all sessions into one slot. "sled-session copy" brings over what an earlier version has stored'
    )
  }
  return prefix
}

/** @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` */
export function readRedisOptions(options: RedisStoreOptions): Required<RedisStoreOptions> {
  const checked = readOptions(OPTIONS, options, { hints: HINTS })
  const { client, replicas } = checked
  if (replicas > 0 && 'masters' in client && client.getNodeClientForKey === undefined) {
    refuse('replicas', 'needs version 6 of "redis" for a cluster')
  }
  if (replicas > 0 && 'execute' in client && client.execute !== undefined) {
    refuse('replicas', 'needs a client with one connection: a pool would wait on another')
  }
  if (replicas > 0 && 'customCommand' in client) {
    refuse('replicas', 'needs a client of "redis" or "ioredis", which keep two commands together')
  }
  return checked
}
