import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import type { Test } from 'tap'
import type { Session, SledSessionOptions } from '../../lib/index.js'
import type { RedisClient, RedisStore } from '../../lib/redis.js'
import { type RedisProcess, startRedis } from '../../scripts/servers/redis.js'
import { createApp } from './app.js'
import { glideFor } from './glide.js'

/** Ready clients, with the settings that they come with; closed after the test. */
export const CLIENTS: Record<string, (t: Test, url: string) => Promise<RedisClient>> = {
  async redis(t, url) {
    const client = createClient({ url })
    client.on('error', () => {})
    await client.connect()
    t.teardown(() => client.destroy())
    return client
  },
  async ioredis(t, url) {
    const client = new Redis(url)
    client.on('error', () => {})
    await once(client, 'ready')
    t.teardown(() => client.disconnect())
    return client
  },
  glide: (t, url) => glideFor(t, Number(new URL(url).port))
}

/** A prefix for the keys of one test. */
export function somePrefix(): string {
  return `${randomUUID()}:`
}

/** An application whose sessions are on a Redis. */
export async function createRedisApp(
  t: Test,
  store: ConstructorParameters<typeof RedisStore>[0],
  options: SledSessionOptions = {},
  server: FastifyServerOptions = {}
): Promise<FastifyInstance> {
  return createApp(t, { store: await redisStoreOfAnotherProcess(store), ...options }, server)
}

let processes = 0

/** A store as another process has it, which has loaded a module of its own. */
export async function redisStoreOfAnotherProcess(
  options: ConstructorParameters<typeof RedisStore>[0]
): Promise<RedisStore> {
  const module = `../../lib/store/redis/redis-store.js?process=${++processes}`
  const loaded = (await import(module)) as { RedisStore: typeof RedisStore }
  return new loaded.RedisStore(options)
}

/** A Redis of one test. */
export async function redisFor(t: Test, options: string[] = []): Promise<RedisProcess> {
  const server = await startRedis(options)
  t.teardown(() => server.stop())
  return server
}

/** A client of it, connected. */
export async function clientFor(t: Test, server: RedisProcess) {
  const client = createClient({ url: server.url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.destroy())
  return client
}

/** Two applications on one Redis, each as a process of its own would be. */
export async function pair(t: Test, options: SledSessionOptions = {}) {
  const client = await clientFor(t, await redisFor(t))
  const prefix = somePrefix()
  const lines: string[] = []
  const logger = { level: 'debug', stream: { write: (line: string) => lines.push(line) } }
  const one = await createRedisApp(t, { client, prefix }, options, { logger })
  const other = await createRedisApp(t, { client, prefix }, options)
  return { one, other, client, prefix, lines }
}

/** A session of one application, with its id. */
export async function begin(app: FastifyInstance, fill: (session: Session) => void) {
  const fresh = { id: '', handle: '' }
  app.get('/begin', async ({ session }) => {
    fill(session)
    fresh.id = session.id ?? ''
    fresh.handle = session.handle ?? ''
  })
  await app.inject('/begin')
  return fresh
}
