import { inspect } from 'node:util'
import Fastify from 'fastify'
import { test } from 'tap'
import { MemoryStore, type Session, sledSession } from '../../lib/index.js'
import { encodeValue } from '../../lib/record/value.js'
import { addCounter, cookieOf, createApp, listen, temporaryFolder } from '../support/app.js'
import { openApplicationDatabase } from '../support/rocksdb.js'
import { bind, visitor } from '../support/visitor.js'

test('two registrations on one column family of one database are refused', async (t) => {
  const { db } = await openApplicationDatabase(await temporaryFolder(t))
  const first = await createApp(t, { db })
  const second = Fastify()
  await t.rejects(async () => second.register(sledSession, { db }), {
    code: 'SLED_SESSION_DATABASE_LOCKED',
    message: /column family "session".*columnFamily of its own/
  })
  await second.close()
  await first.close()
  const again = await createApp(t, { db })
  await again.close()
  await db.close()
})

test('one store for two registrations is refused while the first has it', async (t) => {
  const store = new MemoryStore()
  const first = await createApp(t, { store })
  const second = Fastify()
  await t.rejects(async () => second.register(sledSession, { store }), {
    code: 'SLED_SESSION_INVALID_OPTION',
    message: /"store" is in use already/
  })
  await second.close()
  await first.close()
  const again = await createApp(t, { store })
  await again.close()
})

test('one store for two registrations at one moment is for one; one that failed to open is free', async (t) => {
  class SlowStore extends MemoryStore {
    failure: Error | null = new Error('not yet')

    override async open(context: Parameters<MemoryStore['open']>[0]): Promise<void> {
      await new Promise((resolve) => setImmediate(resolve))
      if (this.failure !== null) throw this.failure
      await super.open(context)
    }
  }
  const store = new SlowStore()
  const apps = [Fastify(), Fastify(), Fastify()]
  t.teardown(() => Promise.all(apps.map((app) => app.close())))
  const [failing, ...both] = apps.map((app) => async () => app.register(sledSession, { store }))
  await t.rejects(failing?.() ?? Promise.resolve(), { message: 'not yet' })
  store.failure = null
  const outcomes = await Promise.allSettled(both.map((register) => register()))
  t.same(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
})

test('two registrations under one cookie name are refused', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(sledSession, { store: new MemoryStore() })
  const second = { store: new MemoryStore(), sessionName: 'cart' }
  await t.rejects(async () => app.register(sledSession, second), {
    code: 'SLED_SESSION_INVALID_OPTION',
    message: /"cookie.name" "id" is taken/
  })
})

test('a cookie of one registration is no session of another, signed by one key or not', async (t) => {
  const signed = ['correct horse battery staple, and more']
  for (const cookie of [{}, { signed }, { encrypted: signed }]) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(sledSession, {
      store: new MemoryStore(),
      secure: false,
      cookie: { ...cookie, name: 'a' }
    })
    await app.register(sledSession, {
      store: new MemoryStore(),
      secure: false,
      sessionName: 'other',
      cookie: { ...cookie, name: 'b' }
    })
    addCounter(app)
    app.get('/other', async (request) => (request as unknown as { other: Session }).other.isNew)
    const url = await listen(app)
    const value = cookieOf(await fetch(url))?.slice(2)
    const response = await fetch(`${url}/other`, { headers: { cookie: `b=${value}` } })
    t.equal(await response.text(), 'true')
  }
})

test('revoke for a visitor who is nobody ends nothing', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('counter', 1))
  await run(async ({ session, server }) => {
    const handle = session.handle ?? ''
    t.equal(await server.sessions.revoke(handle, { principal: null }), false)
    t.equal(await server.sessions.revoke(handle, { principal: undefined }), false)
    await session.setPrincipal('ann')
    t.equal(await server.sessions.revoke(session.handle ?? '', { principal: undefined }), false)
    t.equal(await server.sessions.revoke(session.handle ?? '', { principal: null }), false)
  })
  t.equal(await run(({ session }) => session.principal), 'ann')
})

test('no shared cache may keep a response that sets the cookie', async (t) => {
  const app = await createApp(t)
  const given = ['public, max-age=3600', 'max-age=60', 'no-cache', 'Private', 'no-store', '']
  for (const [index, value] of given.entries()) {
    app.get(`/${index}`, async ({ session }, reply) => {
      if (value !== '') reply.header('cache-control', value)
      session.set('counter', 1)
      return 'hello'
    })
  }
  const sent = []
  for (const index of given.keys()) {
    const { headers } = await app.inject(`/${index}`)
    sent.push(headers['cache-control'])
  }
  t.same(sent, ['no-store', 'no-store', 'no-store', 'Private', 'no-store', 'no-store'])
})

test('what the plugin adds to a request shows neither id nor data when it is printed', async (t) => {
  const { run, who } = bind(await visitor(t))
  await run(({ session }) => session.set('card', 'number 4111'))
  // The Cookie header and request.cookies are the request's own, and show what the visitor sent.
  const printed = (request: object): string =>
    Object.getOwnPropertySymbols(request)
      .filter(({ description }) => description?.startsWith('fastify-sled-session'))
      .map((slot) => inspect((request as Record<symbol, unknown>)[slot], { depth: 5 }))
      .join()
  const texts = await run((request) => {
    const untouched = printed(request)
    request.session.get('card')
    return [untouched, printed(request), inspect(request.session, { showHidden: true })]
  })
  t.ok(texts[0])
  for (const text of texts) t.notMatch(text, new RegExp(`4111|${who.cookie.slice('id='.length)}`))
})

test('values that would not come back as they are, or cost too much, are refused', async (t) => {
  const list = Object.assign([1], { toJSON: () => 'something else' })
  const text = 'x'.repeat(60_000)
  t.throws(() => encodeValue('key', list, 65_536), { code: 'SLED_SESSION_VALUE_NOT_STORABLE' })
  for (const large of [Array(60_000).fill(text), { a: text, b: text }, [Buffer.alloc(1e8)]]) {
    t.throws(() => encodeValue('key', large, 65_536), { code: 'SLED_SESSION_TOO_LARGE' })
  }
})
