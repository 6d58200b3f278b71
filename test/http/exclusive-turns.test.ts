import { request as httpRequest } from 'node:http'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { type Test, test } from 'tap'
import { MemoryStore, type SledSessionOptions, sledSession } from '../../lib/index.js'
import { RedisStore } from '../../lib/redis.js'
import { startRedis } from '../../scripts/servers/redis.js'
import { until } from '../../scripts/servers/until.js'
import { cookieOf, createApp, listen } from '../support/app.js'
import { Gate } from '../support/gate.js'
import { needsFor } from '../support/needs.js'
import { CLIENTS, somePrefix } from '../support/redis-app.js'

const EXCLUSIVE = { session: { exclusive: true } }

/** A shop that pays with a voucher, which is there once, and in which the bank takes its time. */
function addShop(app: FastifyInstance) {
  const shop = { arrived: 0, atBank: 0, paid: 0, bank: new Gate() }
  app.get('/in', async ({ session }) => {
    await session.setPrincipal('ann')
    session.set('voucher', 1)
  })
  app.get('/renew', async ({ session }) => session.regenerate())
  app.addHook('preHandler', async () => void shop.arrived++)
  app.get('/pay', { config: EXCLUSIVE }, async ({ session }) => {
    if (!session.has('voucher')) return 'nothing to pay with'
    shop.atBank++
    await shop.bank.opened
    session.delete('voucher')
    shop.paid++
    return 'paid'
  })
  const ask = async (path: string, cookie = '') => {
    const response = await app.inject({ url: path, headers: { cookie } })
    const set = String(response.headers['set-cookie'] ?? '').split(';')[0]
    return { body: response.body, status: response.statusCode, cookie: set || cookie }
  }
  return { shop, ask }
}

/** Pays five times at once in one session. */
async function payAtOnce(t: Test, { shop, ask }: Site, prefix = ''): Promise<void> {
  const { cookie } = await ask(`${prefix}/in`)
  const answers = Array.from({ length: 5 }, () => ask(`${prefix}/pay`, cookie))
  await until(() => shop.arrived === 6)
  shop.bank.open()
  const bodies = (await Promise.all(answers)).map(({ body }) => body)
  t.equal(bodies.filter((body) => body === 'paid').length, 1)
  t.equal(shop.paid, 1)
}

type Site = ReturnType<typeof addShop>

function fastify(t: Test): FastifyInstance {
  const app = Fastify()
  t.teardown(() => app.close())
  return app
}

const someSessions = (): SledSessionOptions => ({ store: new MemoryStore(), secure: false })

test('a route is exclusive though register was not awaited', async (t) => {
  const app = fastify(t)
  app.register(sledSession, someSessions())
  await payAtOnce(t, addShop(app))
})

test('a route is exclusive though it was declared before register', async (t) => {
  const app = fastify(t)
  const site = addShop(app)
  app.register(sledSession, someSessions())
  await payAtOnce(t, site)
})

test('a route of a child is exclusive', async (t) => {
  for (const awaited of [true, false]) {
    const app = fastify(t)
    const registered = app.register(sledSession, someSessions())
    if (awaited) await registered
    const sites: Site[] = []
    app.register(async (child) => void sites.push(addShop(child)), { prefix: '/child' })
    await app.ready()
    for (const site of sites) await payAtOnce(t, site, '/child')
    t.equal(sites.length, 1)
  }
})

test('the start fails where a route is exclusive and no session comes to it', async (t) => {
  const app = fastify(t)
  app.register(async (child) => {
    child.get('/pay', { config: EXCLUSIVE }, async () => '')
  })
  app.register(sledSession, { store: new MemoryStore() })
  await t.rejects(async () => app.ready(), {
    code: 'SLED_SESSION_INVALID_OPTION',
    message: /config.session.exclusive.*GET \/pay.*before/
  })
})

test('the start fails for wrong settings of a route that was declared before', async (t) => {
  for (const session of [
    { exclusive: 'yes' },
    { exclusive: { wait: 5 } },
    { rolling: true },
    null
  ]) {
    const app = Fastify()
    app.register(sledSession, { store: new MemoryStore() })
    app.get('/', { config: { session } as never }, async () => '')
    await t.rejects(async () => app.ready(), { code: 'SLED_SESSION_INVALID_OPTION' })
    await app.close().catch(() => {})
  }
})

test('an application without the plugin may mean something else by these settings', async (t) => {
  const app = fastify(t)
  app.get('/', { config: { session: { exclusive: 'of its own' } } as never }, async () => 'hello')
  t.equal((await app.inject('/')).body, 'hello')
})

const STORES: Record<string, (t: Test) => Promise<SledSessionOptions>> = {
  RocksDB: async () => ({}),
  memory: async () => ({ store: new MemoryStore() }),
  Redis: async (t) => {
    const redis = await startRedis()
    t.teardown(() => redis.stop())
    const client = await CLIENTS.redis?.(t, redis.url)
    if (client === undefined) throw new Error('there is no such client')
    return { store: new RedisStore({ client, prefix: somePrefix() }) }
  }
}

for (const [name, options] of Object.entries(STORES)) {
  test(`a renewal beside it opens no second door: ${name}`, needsFor(name), async (t) => {
    const app = await createApp(t, await options(t))
    const { shop, ask } = addShop(app)
    const { cookie } = await ask('/in')
    const first = ask('/pay', cookie)
    await until(() => shop.atBank === 1)
    const renewal = ask('/renew', cookie)
    const second = ask('/pay', cookie)
    await until(() => shop.arrived === 4)
    shop.bank.open()
    t.equal((await first).body, 'paid')
    const { cookie: renewed } = await renewal
    t.not(renewed, cookie)
    t.equal((await second).body, 'nothing to pay with')
    t.equal((await ask('/pay', renewed)).body, 'nothing to pay with', 'it went along')
    t.equal(shop.paid, 1)
  })
}

test('a renewal within it takes the turn along to the new id', async (t) => {
  const app = await createApp(t, { store: new MemoryStore() })
  const { shop, ask } = addShop(app)
  const [renewed, over] = [new Gate(), new Gate()]
  let id: string | null = null
  app.get('/upgrade', { config: EXCLUSIVE }, async ({ session }) => {
    await session.regenerate()
    id = session.id
    renewed.open()
    await over.opened
    session.delete('voucher')
  })
  const { cookie } = await ask('/in')
  const upgrade = ask('/upgrade', cookie)
  await renewed.opened
  const pay = ask('/pay', `id=${id}`)
  await until(() => shop.arrived === 3)
  shop.bank.open()
  over.open()
  t.equal((await upgrade).status, 200)
  t.equal((await pay).body, 'nothing to pay with')
})

/** Asks over a connection, which the returned function cuts. */
function askAndLeave(url: string, cookie: string): () => void {
  const client = httpRequest(url, { headers: { cookie } })
  client.on('error', () => {})
  client.end()
  return () => client.destroy()
}

const exclusive = (maxWait: number) => ({ session: { exclusive: { maxWait } } })

/** A route that works until its gate opens, behind a hook that the test may hold up. */
async function addWorkshop(app: FastifyInstance, { answers = true, maxWait = 10_000 }) {
  const work = { hooked: 0, begun: 0, gone: 0, hook: new Gate(), over: new Gate() }
  app.get('/in', async ({ session }) => session.set('counter', 1))
  app.get('/free', { config: exclusive(20) }, async () => 'free')
  const preHandler = async (_request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    reply.raw.once('close', () => work.gone++)
    work.hooked++
    await work.hook.opened
  }
  app.get('/work', { config: exclusive(maxWait), preHandler }, (_request, reply) => {
    work.begun++
    work.over.opened.then(() => {
      if (answers) reply.send('done')
    })
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(`${url}/in`)) ?? ''
  const leave = askAndLeave(`${url}/work`, cookie)
  await until(() => work.hooked === 1)
  const isFree = async (): Promise<boolean> =>
    (await fetch(`${url}/free`, { headers: { cookie } })).status === 200
  return { work, leave, isFree }
}

test('a handler that calls back has its turn until it does, though its client has gone', async (t) => {
  const app = await createApp(t, { store: new MemoryStore() })
  const { work, leave, isFree } = await addWorkshop(app, {})
  work.hook.open()
  await until(() => work.begun === 1)
  leave()
  await until(() => work.gone === 1)
  t.notOk(await isFree())
  work.over.open()
  await until(isFree)
  t.pass('it is free')
})

test('a handler whose client has gone before it began is not called', async (t) => {
  const app = await createApp(t, { store: new MemoryStore() })
  const { work, leave, isFree } = await addWorkshop(app, {})
  leave()
  await until(() => work.gone === 1)
  await until(isFree)
  work.hook.open()
  await app.close()
  t.equal(work.begun, 0)
})

test('a handler that calls back and never does loses its turn in the end', async (t) => {
  const app = await createApp(t, { store: new MemoryStore() })
  const { work, leave, isFree } = await addWorkshop(app, { answers: false, maxWait: 50 })
  work.hook.open()
  await until(() => work.begun === 1)
  leave()
  await until(() => work.gone === 1)
  work.over.open()
  await until(isFree)
  t.pass('it is free')
})
