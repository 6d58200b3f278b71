import { InvalidOptionError, StoreUnavailableError } from '../../errors.js'
import type { RedisClient } from './client.js'
import { RedisStore } from './redis-store.js'

/** A store with a client of its own, for commands and jobs that only have an address. */
export interface OwnRedisStore {
  readonly store: RedisStore
  /** Closes the client; the store is to be closed first. */
  disconnect(): Promise<void>
}

interface Connection {
  readonly client: RedisClient
  disconnect(): unknown
}

const CONNECT_TIMEOUT = 5000

/**
 * Connects to a Redis by its URL, `redis://` or `rediss://`, with whichever of the packages
 * `redis` and `ioredis` is installed. Keys begin with the URL's `prefix` parameter, if it has one.
 * It does not wait for a server that is down.
 *
 * @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` for another URL, or without a client
 * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`
 */
export async function connectRedisStore(
  url: string,
  load: (name: string) => Promise<unknown> = (name) => import(name)
): Promise<OwnRedisStore> {
  const address = URL.canParse(url) ? new URL(url) : null
  if (address === null || !/^rediss?:$/.test(address.protocol)) {
    throw new InvalidOptionError('url', 'must begin with redis:// or rediss://')
  }
  const prefix = address.searchParams.get('prefix')
  address.searchParams.delete('prefix')
  const connect = await findClient(load)
  const { client, disconnect } = await connect(address.href).catch((error: unknown) => {
    throw new StoreUnavailableError('reach Redis', { cause: error })
  })
  return {
    store: new RedisStore(prefix === null ? { client } : { client, prefix }),
    async disconnect() {
      await disconnect()
    }
  }
}

async function findClient(
  load: (name: string) => Promise<unknown>
): Promise<(url: string) => Promise<Connection>> {
  const redis = await load('redis').catch(() => null)
  if (redis !== null) return (url) => connectNodeRedis(redis as NodeRedis, url)
  const ioredis = await load('ioredis').catch(() => null)
  if (ioredis !== null) return (url) => connectIORedis(ioredis as IORedis, url)
  throw new InvalidOptionError('url', 'needs a client: "npm install redis", or ioredis')
}

interface NodeRedis {
  createClient(options: object): RedisClient & {
    on(event: 'error', listener: () => void): void
    connect(): Promise<unknown>
    close(): Promise<void>
  }
}

async function connectNodeRedis({ createClient }: NodeRedis, url: string): Promise<Connection> {
  const socket = { connectTimeout: CONNECT_TIMEOUT, reconnectStrategy: false }
  const client = createClient({ url, socket, disableOfflineQueue: true })
  // Each command that fails says so itself.
  client.on('error', () => {})
  await client.connect()
  return { client, disconnect: () => client.close() }
}

interface IORedis {
  Redis: new (
    url: string,
    options: object
  ) => RedisClient & {
    on(event: 'error', listener: () => void): void
    connect(): Promise<void>
    quit(): Promise<unknown>
  }
}

async function connectIORedis({ Redis }: IORedis, url: string): Promise<Connection> {
  const client = new Redis(url, {
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT,
    enableOfflineQueue: false,
    retryStrategy: () => null
  })
  client.on('error', () => {})
  await client.connect()
  return { client, disconnect: () => client.quit() }
}
