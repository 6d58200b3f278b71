import { createClient, createClientPool } from 'redis'
import type { Test } from 'tap'
import type { Session } from '../../../lib/index.js'
import { RedisStore } from '../../../lib/redis.js'
import { OVERWRITE, SWAP } from '../../../lib/store/redis/scripts.js'
import type { RedisProcess } from '../../../scripts/servers/redis.js'
import type { ClusterNode } from '../../../scripts/servers/redis-cluster.js'
import { settles } from '../../../scripts/servers/until.js'
import { temporaryFolder } from '../../support/app.js'
import { testWith } from '../../support/needs.js'
import { begin, CLIENTS, createRedisApp, redisFor } from '../../support/redis-app.js'
import { CLUSTER_CLIENTS, clusterFor } from '../../support/redis-cluster.js'

const test = testWith('redis-server')

/** A primary and a replica that follows it. */
async function primaryWithReplica(t: Test) {
  const folder = ['--dir', await temporaryFolder(t)]
  const primary = await redisFor(t, ['--repl-diskless-sync-delay', '0', ...folder])
  const follows = ['--replicaof', '127.0.0.1', String(primary.port)]
  const replica = await redisFor(t, [...follows, ...folder])
  const [admin, reader] = await Promise.all([primary, replica].map(({ url }) => connectTo(t, url)))
  if (admin === undefined || reader === undefined) throw new Error('no client')
  // It takes a while to begin to say how far it is.
  await settles(async () => {
    await admin.set('a change', 'to wait for')
    return Number(await admin.sendCommand(['WAIT', '1', '100'])) === 1
  })
  await settles(async () => (await reader.info('replication')).includes('link_status:up'))
  return { primary, replica, reader }
}

async function connectTo(t: Test, url: string) {
  const client = createClient({ url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.destroy())
  return client
}

/** A client of glide is refused: see "options that cannot work". */
const { glide: _, ...waiting } = CLIENTS
for (const [name, connect] of Object.entries(waiting)) {
  test(`${name}: with replicas, a change is acknowledged when a replica has it`, async (t) => {
    const { primary, replica, reader } = await primaryWithReplica(t)
    const client = await connect(t, primary.url)
    const app = await createRedisApp(t, { client, replicas: 1 }, { storeTimeout: 500 })
    app.get('/login', async ({ session }) => session.setPrincipal('ann'))
    app.get('/logout', async ({ session }) => session.destroy())
    app.get('/read', async ({ session }) => ({ counter: session.get('counter') ?? null }))
    app.get('/', async ({ session }) => session.update('counter', (counter = 0) => counter + 1))
    const { id } = await begin(app, (session) => session.set('counter', 0))
    let cookies = { id }
    const get = async (url: string) => {
      const response = await app.inject({ url, cookies })
      const [cookie] = response.cookies
      if (cookie !== undefined && cookie.value !== '') cookies = { id: cookie.value }
      return response.statusCode
    }
    const stored = async () => {
      const keys = await reader.keys('session:{*}')
      return Promise.all(keys.map((key) => reader.get(key)))
    }
    t.equal(await get('/'), 200)
    t.match((await stored()).join(), /"counter",1\]\n1$/)
    t.equal(await get('/login'), 200)
    t.equal((await reader.keys('session:principal:*')).length, 1)

    replica.freeze()
    for (const path of ['/', '/login', '/logout']) t.equal(await get(path), 503, path)
    t.equal(await get('/read'), 200, 'reads need no replica')
    replica.thaw()
    await settles(async () => (await get('/')) === 200)
    t.equal(await get('/logout'), 200)
    t.equal((await stored()).filter((text) => !text?.startsWith('>')).length, 0)
  })
}

for (const [name, connect] of Object.entries(CLUSTER_CLIENTS)) {
  if (name === 'glide') continue
  test(`${name}: with replicas, a cluster has a change twice when it is acknowledged`, async (t) => {
    const cluster = await clusterFor(t, { replicas: true })
    const client = await connect(t, cluster)
    const app = await createRedisApp(t, { client, replicas: 1 })
    app.get('/', async ({ session }) => session.update('counter', (counter = 0) => counter + 1))
    app.get('/login', async ({ session }) => session.setPrincipal('ann'))
    for (let visitor = 0; visitor < 20; visitor++) {
      const id = (await app.inject('/')).cookies[0]?.value ?? ''
      t.equal((await app.inject({ url: '/', cookies: { id } })).body, '2')
      t.equal((await app.inject({ url: '/login', cookies: { id } })).statusCode, 200)
    }
    const sizes = async (nodes: readonly ClusterNode[]) =>
      Promise.all(nodes.map(({ ask }) => ask('DBSIZE')))
    t.same(await sizes(cluster.replicas), await sizes(cluster.masters))
  })
}

test('how many replicas are waited for is a whole number', async (t) => {
  const server: RedisProcess = await redisFor(t)
  const client = await connectTo(t, server.url)
  for (const replicas of [-1, 0.5, '1', null]) {
    t.throws(() => new RedisStore({ client, replicas: replicas as number }), {
      code: 'SLED_SESSION_INVALID_OPTION'
    })
  }
  const pool = createClientPool({ url: server.url })
  t.throws(() => new RedisStore({ client: pool, replicas: 1 }), { message: /one connection/ })
  const older = { masters: [], nodeClient() {}, sendCommand: async () => null }
  t.throws(() => new RedisStore({ client: older, replicas: 1 }), { message: /version 6/ })
})

/** What a request may do. */
const CHANGES: Record<string, (session: Session) => unknown> = {
  set: (session) => session.set('counter', 2),
  update: (session) => session.update('counter', (counter = 0) => counter + 1),
  renew: (session) => session.regenerate(),
  login: (session) => session.setPrincipal('ann'),
  logout: (session) => session.destroy()
}

for (const [what, change] of Object.entries(CHANGES)) {
  test(`${what}: a replica that takes over without the change acknowledges it no more`, async (t) => {
    const { primary } = await primaryWithReplica(t)
    const real = await connectTo(t, primary.url)
    let before: Map<string, string> | null = null
    const sessions = async () => {
      const keys = await real.keys('session:{*}')
      return new Map(
        await Promise.all(keys.map(async (key) => [key, (await real.get(key)) ?? ''] as const))
      )
    }
    const client = {
      isReady: true,
      async sendCommand(args: string[]): Promise<unknown> {
        // What waits is sent again, to one that has what there was before.
        if (before !== null && ['EXISTS', 'GETRANGE', 'ZSCORE'].includes(args[0] ?? '')) {
          await real.flushAll()
          await Promise.all([...before].map(([key, text]) => real.set(key, text)))
        }
        return real.sendCommand(args)
      }
    }
    const app = await createRedisApp(t, { client, replicas: 1 }, { storeTimeout: 500 })
    app.get('/', async ({ session }) => {
      before = await sessions()
      await change(session)
    })
    const { id } = await begin(app, (session) => session.set('counter', 1))
    t.equal((await app.inject({ url: '/', cookies: { id } })).statusCode, 503)
  })
}

for (const what of ['set', 'update', 'renew']) {
  test(`${what}: a change that was sent twice needs its replicas as well`, async (t) => {
    const { primary, replica } = await primaryWithReplica(t)
    const real = await connectTo(t, primary.url)
    let twice = false
    const client = {
      isReady: true,
      async sendCommand(args: string[]): Promise<unknown> {
        const reply = await real.sendCommand(args)
        if (!twice || args[0] !== 'EVALSHA' || String(reply) !== '1') return reply
        replica.freeze()
        return real.sendCommand(args)
      }
    }
    const app = await createRedisApp(t, { client, replicas: 1 }, { storeTimeout: 500 })
    app.get('/', async ({ session }) => {
      twice = true
      await CHANGES[what]?.(session)
    })
    const { id } = await begin(app, (session) => session.set('counter', 1))
    await real.sendCommand(['SCRIPT', 'LOAD', SWAP.text])
    await real.sendCommand(['SCRIPT', 'LOAD', OVERWRITE.text])
    t.equal((await app.inject({ url: '/', cookies: { id } })).statusCode, 503)
    replica.thaw()
  })
}
