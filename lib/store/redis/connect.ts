import { InvalidOptionError, StoreUnavailableError } from '../../errors.js'
import type { NodeRedisClient } from './client.js'
import { RedisStore } from './redis-store.js'

/** A store with a client of its own, for commands and jobs that only have an address. */
export interface OwnRedisStore {
  readonly store: RedisStore
  /** Closes the client; the store is to be closed first. */
  disconnect(): Promise<void>
}

/** The part of the package `redis` that this uses. */
interface NodeRedis {
  createClient(options: object): NodeRedisClient & {
    on(event: 'error', listener: () => void): void
    connect(): Promise<unknown>
    close(): Promise<void>
  }
}

const CONNECT_TIMEOUT = 5000

/**
 * Connects to a Redis by its URL, `redis://` or `rediss://`, with the package `redis`, whichever
 * client the application has. Keys begin with the URL's `prefix` parameter, if it has one. It does
 * not wait for a server that is down.
 *
 * ```ts
 * const { store, disconnect } = await connectRedisStore('redis://127.0.0.1:6379?prefix={app}:')
 * await store.open({ now: Date.now, log: console })
 * await copySessions(store, new MemoryStore())
 * await store.close()
 * await disconnect()
 * ```
 *
 * @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` for another URL, or without `redis`
 * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`
 */
export async function connectRedisStore(
  url: string,
  // Not by a literal: bundlers would ask for the package of applications that have ioredis.
  load: (name: string) => Promise<unknown> = (name) => import(name)
): Promise<OwnRedisStore> {
  const address = URL.canParse(url) ? new URL(url) : null
  if (address === null || !/^rediss?:$/.test(address.protocol)) {
    throw new InvalidOptionError('url', 'must begin with redis:// or rediss://')
  }
  const prefix = address.searchParams.get('prefix')
  address.searchParams.delete('prefix')
  const { createClient } = (await load('redis').catch((cause: unknown) => {
    throw new InvalidOptionError('url', 'needs the package redis: "npm install redis"', { cause })
  })) as NodeRedis
  const client = createClient({
    url: address.href,
    socket: { connectTimeout: CONNECT_TIMEOUT, reconnectStrategy: false },
    disableOfflineQueue: true
  })
  // Each command that fails says so itself.
  client.on('error', () => {})
  await client.connect().catch((cause: unknown) => {
    throw new StoreUnavailableError('reach Redis', { cause })
  })
  return {
    store: new RedisStore(prefix === null ? { client } : { client, prefix }),
    disconnect: () => client.close()
  }
}
