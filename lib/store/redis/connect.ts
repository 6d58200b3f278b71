import { InvalidOptionError, StoreUnavailableError } from '../../errors.js'
import type { SessionStore } from '../session-store.js'
import type { NodeRedisClient, NodeRedisCluster } from './client.js'
import { OneSlotStore } from './one-slot-store.js'
import { RedisStore } from './redis-store.js'

/** A store with a client of its own, for commands and jobs that only have an address. */
export interface OwnRedisStore {
  readonly store: SessionStore
  /** Closes the client; the store is to be closed first. */
  disconnect(): Promise<void>
}

interface Connectable {
  on(event: 'error', listener: () => void): void
  connect(): Promise<unknown>
  close(): Promise<unknown>
}

/** The part of the package `redis` that this uses. */
interface NodeRedis {
  createClient(options: object): NodeRedisClient & Connectable
  createCluster(options: object): NodeRedisCluster & Connectable
}

const CONNECT_TIMEOUT = 5000

/**
 * Connects to a Redis by its URL, `redis://` or `rediss://`, with the package `redis`, whichever
 * client the application has. A server of a cluster stands for all of it. Keys begin with the URL's
 * `prefix` parameter, if it has one; by one with braces it opens what version 0.1 has stored, to be
 * copied from. It does not wait for a server that is down.
 *
 * ```ts
 * const { store, disconnect } = await connectRedisStore('redis://127.0.0.1:6379?prefix=app:')
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
  const redis = (await load('redis').catch((cause: unknown) => {
    throw new InvalidOptionError('url', 'needs the package redis: "npm install redis"', { cause })
  })) as NodeRedis
  const client = await connect(redis, address.href)
  const options = prefix === null ? { client } : { client, prefix }
  return {
    store:
      prefix !== null && /[{}]/.test(prefix)
        ? new OneSlotStore({ client, prefix })
        : new RedisStore(options),
    disconnect: async () => void (await client.close())
  }
}

async function connect({ createClient, createCluster }: NodeRedis, url: string) {
  const socket = { connectTimeout: CONNECT_TIMEOUT, reconnectStrategy: false }
  const single = createClient({ url, socket, disableOfflineQueue: true })
  await begin(single)
  const info = String(await single.sendCommand(['INFO', 'cluster']).catch(() => ''))
  if (!info.includes('cluster_enabled:1')) return single
  await single.close()
  const { username, password } = new URL(url)
  const defaults = { socket, ...credentials(username, password) }
  return begin(createCluster({ rootNodes: [{ url }], defaults }))
}

/** A cluster tells the addresses of its servers, and they all take the same user. */
function credentials(username: string, password: string): object {
  if (password === '') return {}
  const secret = { password: decodeURIComponent(password) }
  return username === '' ? secret : { ...secret, username: decodeURIComponent(username) }
}

async function begin<C extends Connectable>(client: C): Promise<C> {
  // Each command that fails says so itself.
  client.on('error', () => {})
  await client.connect().catch((cause: unknown) => {
    throw new StoreUnavailableError('reach Redis', { cause })
  })
  return client
}
