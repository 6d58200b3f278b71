import { once } from 'node:events'
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis-5'
import { Cluster as ValkeyCluster, Redis as ValkeyRedis } from 'iovalkey'
import { createClientPool } from 'redis'
import {
  createClient as createClient5,
  createClientPool as createClientPool5,
  createCluster as createCluster5,
  createSentinel as createSentinel5
} from 'redis-5'
import type { Test } from 'tap'
import { conformanceCases, type StorePlace } from '../../../lib/conformance.js'
import type { RedisClient } from '../../../lib/redis.js'
import { type SentinelSetUp, startSentinels } from '../../../scripts/servers/redis-sentinel.js'
import { glideFor } from '../../support/glide.js'
import { testWith } from '../../support/needs.js'
import {
  clientFor,
  redisFor,
  redisStoreOfAnotherProcess,
  somePrefix
} from '../../support/redis-app.js'
import { clusterFor } from '../../support/redis-cluster.js'

const test = testWith('redis-server')

type Connect = (t: Test, ports: number[]) => Promise<RedisClient>

interface NodeRedis {
  on(event: 'error', listener: () => void): unknown
  connect(): Promise<unknown>
  destroy(): unknown
}

interface IORedis {
  on(event: 'error', listener: () => void): unknown
  disconnect(): void
}

async function nodeRedis<C extends NodeRedis>(t: Test, client: C): Promise<C> {
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.destroy())
  return client
}

async function ioredis<C extends IORedis>(t: Test, client: C): Promise<C> {
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  await once(client as never, 'ready')
  return client
}

const url = (port: number | undefined) => `redis://127.0.0.1:${port}`
const address = (port: number) => ({ host: '127.0.0.1', port })

/** Other tests have the newest of "redis" and "ioredis", and glide on a cluster. */
const SINGLE: Record<string, Connect> = {
  'redis 5': (t, [port]) => nodeRedis(t, createClient5({ url: url(port) })),
  'a pool of redis 5': (t, [port]) => nodeRedis(t, createClientPool5({ url: url(port) })),
  'a pool of redis 6': (t, [port]) => nodeRedis(t, createClientPool({ url: url(port) })),
  'ioredis 5': (t, [port]) => ioredis(t, new Redis5(url(port))),
  iovalkey: (t, [port]) => ioredis(t, new ValkeyRedis(url(port))),
  glide: (t, [port = 0]) => glideFor(t, port)
}

const CLUSTER: Record<string, Connect> = {
  'redis 5': (t, ports) =>
    nodeRedis(t, createCluster5({ rootNodes: ports.map((port) => ({ url: url(port) })) })),
  'ioredis 5': (t, ports) => ioredis(t, new Cluster5(ports.map(address))),
  iovalkey: (t, ports) => ioredis(t, new ValkeyCluster(ports.map(address)))
}

const SENTINEL: Record<string, (t: Test, setUp: SentinelSetUp) => Promise<RedisClient>> = {
  'redis 5': (t, { name, sentinels }) =>
    nodeRedis(t, createSentinel5({ name, sentinelRootNodes: [...sentinels] })),
  'ioredis 5': (t, { name, sentinels }) =>
    ioredis(t, new Redis5({ name, sentinels: [...sentinels] })),
  iovalkey: (t, { name, sentinels }) =>
    ioredis(t, new ValkeyRedis({ name, sentinels: [...sentinels] }))
}

function placeOn(client: RedisClient, damage: (key: string) => Promise<unknown>): StorePlace {
  const prefix = somePrefix()
  return {
    createStore: () => redisStoreOfAnotherProcess({ client, prefix }),
    damage: async (handle) => void (await damage(`${prefix}{${handle}}`))
  }
}

async function keepsContract(
  t: Test,
  name: string,
  connect: (t: Test) => Promise<RedisClient>,
  damage: (key: string) => Promise<unknown>
): Promise<void> {
  await t.test(`keeps the contract through ${name}`, async (t) => {
    const client = await connect(t)
    const cases = conformanceCases(() => placeOn(client, damage))
    for (const { name, run } of cases) await t.test(name, run)
  })
}

test('a single server', async (t) => {
  const server = await redisFor(t)
  const own = await clientFor(t, server)
  const damage = (key: string) => own.append(key, '?')
  for (const [name, connect] of Object.entries(SINGLE)) {
    await keepsContract(t, name, (t) => connect(t, [server.port]), damage)
  }
})

test('a server that sentinels watch', async (t) => {
  const setUp = await startSentinels()
  t.teardown(() => setUp.stop())
  const own = await clientFor(t, setUp.master)
  const damage = (key: string) => own.append(key, '?')
  for (const [name, connect] of Object.entries(SENTINEL)) {
    await keepsContract(t, name, (t) => connect(t, setUp), damage)
  }
})

test('a cluster', async (t) => {
  const { masters } = await clusterFor(t)
  const ports = masters.map(({ port }) => port)
  const damage = async (key: string) => {
    for (const master of masters) await master.ask('APPEND', key, '?').catch(() => {})
  }
  for (const [name, connect] of Object.entries(CLUSTER)) {
    await keepsContract(t, name, (t) => connect(t, ports), damage)
  }
})
