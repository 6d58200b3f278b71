import Fastify from 'fastify'
import { test } from 'tap'
import { checkOptions } from '../../lib/http/options.js'
import { MemoryStore, onInactivity, type SledSessionOptions, sledSession } from '../../lib/index.js'
import { addCounter, cookieOf, listen, temporaryFolder } from '../support/app.js'

const store = new MemoryStore()
const incomplete = { open() {}, close() {} } as unknown as MemoryStore

/** A store that tells something else of who writes to it. */
function storeOf(writers: unknown): MemoryStore {
  return Object.assign(new MemoryStore(), { writers })
}

// Each of them but for one option is right.
const wrong: [option: string, given: Record<string, unknown>][] = [
  ['path', {}],
  ['path', { path: '' }],
  ['path', { path: 5 }],
  ['path', { path: 'a\0b' }],
  ['path', { path: 'a', store }],
  ['path', { path: 'a', db: {} }],
  ['path', { db: {}, store }],
  ['db', { db: {} }],
  ['db', { db: 5 }],
  ['db', { db: new Proxy({ columnFamily() {}, ready() {}, write() {} }, {}) }],
  ['store', { store: incomplete }],
  ['store', { store: null }],
  ['store', { store: storeOf(undefined) }],
  ['store', { store: storeOf('many') }],
  // It has no compareAndSet.
  ['store', { store: storeOf('several') }],
  ['columnFamily', { path: 'a', columnFamily: '' }],
  ['columnFamily', { path: 'a', columnFamily: 5 }],
  ['columnFamily', { store, columnFamily: 'session' }],
  ['durability', { path: 'a', durability: 'disk' as 'power' }],
  ['durability', { store, durability: 'power' }],
  ['lockTimeout', { path: 'a', lockTimeout: -1 }],
  ['lockTimeout', { path: 'a', lockTimeout: 'long' }],
  ['lockTimeout', { path: 'a', lockTimeout: { days: 30 } }],
  ['lockTimeout', { store, lockTimeout: 5 }],
  ['storeTimeout', { store, storeTimeout: 0 }],
  ['storeTimeout', { store, storeTimeout: 2 ** 31 }],
  ['sessionName', { store, sessionName: 'a b' }],
  ['sessionName', { store, sessionName: 'body' }],
  ['sessionName', { store, sessionName: 7 }],
  ['secure', { store, secure: 'yes' }],
  ['secure', { store, secure: 1 }],
  ['cookie', { store, cookie: 'id' }],
  ['cookie.name', { store, cookie: { name: 'a;b' } }],
  ['expiry', { store, expiry: 5 }],
  ['expiry', { store, expiry: { kind: 'never' } }],
  ['sessionEndLimit', { store, sessionEndLimit: -1 }],
  ['sessionEndLimit', { store, sessionEndLimit: { weeks: 1 } }],
  ['absoluteTimeout', { store, absoluteTimeout: 0 }],
  ['absoluteTimeout', { store, absoluteTimeout: Number.NaN }],
  ['rolling', { store, rolling: 'yes' }],
  ['alwaysSave', { store, alwaysSave: 1 }],
  ['saveUninitialized', { store, saveUninitialized: {} }],
  ['saveOnError', { store, saveOnError: 'no' }],
  ['touchInterval', { store, touchInterval: -5 }],
  ['touchInterval', { store, touchInterval: 'often' }],
  ['reapInterval', { store, reapInterval: -1 }],
  ['reapInterval', { store, reapInterval: 0 }],
  ['reapInterval', { store, reapInterval: true }],
  ['reapInterval', { store, reapInterval: { days: 30 } }],
  ['noStore', { store, noStore: 'no' }],
  ['vary', { store, vary: 'cookie' }],
  ['maxRecordSize', { store, maxRecordSize: 10 }],
  ['maxRecordSize', { store, maxRecordSize: 1.5e3 + 0.5 }],
  ['maxRecordSize', { store, maxRecordSize: 2 ** 40 }],
  ['memory', { store, memory: 5 }],
  ['memory', { store, memory: '64 MB' }],
  ['now', { store, now: 5 }],
  ['now', { store, now: () => new Date() }],
  ['touchInterval', { store, touchInterval: 60_000, expiry: onInactivity({ seconds: 60 }) }],
  ['touchInterval', { store, touchInterval: { days: 14 } }],
  ['rolling', { store, rolling: null }],
  ['cookie', { store, cookie: null }],
  ['cookie.maxAge', { store, cookie: { maxAge: 5 } }],
  ['pathh', { store, pathh: 'a' }],
  ['secret', { store, secret: 'a' }]
]

test('each wrong option fails the registration, by an error that names it', async (t) => {
  for (const [option, given] of wrong) {
    const app = Fastify()
    await t.rejects(
      async () => app.register(sledSession, given as SledSessionOptions),
      {
        code: 'SLED_SESSION_INVALID_OPTION',
        message: new RegExp(`option "${option.replace('.', '\\.')}" `)
      },
      JSON.stringify(given)
    )
    await app.close()
  }
})

test('an option of another package is told what to use here', async (t) => {
  const cases: [object, RegExp][] = [
    [{ secret: 'a' }, /ids?.*cookie\.signed/],
    [{ cookie: { maxAge: 5 } }, /onInactivity/],
    [{ cookie: { expires: 5 } }, /atDateTime/],
    [{ cookie: { secure: true } }, /beside "cookie"/],
    [{ cookieName: 'a' }, /cookie\.name/],
    [{ toString: 5 }, /use path, db/]
  ]
  for (const [given, use] of cases) {
    t.throws(() => checkOptions({ store, ...given }), { message: use })
  }
})

test('the defaults are what the README says', async (t) => {
  const { cookie, storeOptions, ...rest } = checkOptions({ path: 'a' })
  t.same(storeOptions, {
    kind: 'path',
    path: 'a',
    columnFamily: 'session',
    durability: 'process',
    lockTimeout: 5000
  })
  t.match(cookie, { name: 'id', secure: true, suffix: '; Path=/; HttpOnly; SameSite=Lax' })
  t.same(rest, {
    storeTimeout: 5000,
    sessionName: 'session',
    expiry: { kind: 'session-end' },
    sessionEndLimit: 14 * 24 * 3_600_000,
    absoluteTimeout: null,
    rolling: true,
    alwaysSave: false,
    saveUninitialized: false,
    saveOnError: true,
    touchInterval: null,
    reapInterval: 60_000,
    noStore: true,
    vary: true,
    maxRecordSize: 65_536,
    memory: 96 * 1024 * 1024,
    now: Date.now
  })
})

test('several registrations stand side by side under names of their own', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(sledSession, { path: await temporaryFolder(t), secure: false })
  await app.register(sledSession, {
    store: new MemoryStore(),
    secure: false,
    sessionName: 'cart',
    cookie: { name: 'cart' }
  })
  addCounter(app)
  type WithCart = { cart: import('../../lib/index.js').Session }
  app.get('/cart', async (request) => {
    const { cart } = request as unknown as WithCart
    cart.set('items', (cart.get<number>('items') ?? 0) + 1)
    return { items: cart.get('items'), counter: request.session.get('counter') ?? null }
  })
  const url = await listen(app)
  const counter = cookieOf(await fetch(url))
  const first = await fetch(`${url}/cart`, { headers: { cookie: `${counter}` } })
  const cart = cookieOf(first)
  t.match(cart, /^cart=/)
  const both = { cookie: `${cart}; ${counter}` }
  t.same(await (await fetch(`${url}/cart`, { headers: both })).json(), { items: 2, counter: 1 })
  t.equal(await (await fetch(url, { headers: both })).text(), 'Current count: 1')
  const { carts } = app as unknown as { carts: import('../../lib/index.js').SessionManager }
  t.equal(await carts.count(), 1)
  t.equal(await app.sessions.count(), 1)
})

test('a name that is taken is refused', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(sledSession, { store: new MemoryStore() })
  await t.rejects(async () => app.register(sledSession, { store: new MemoryStore() }), {
    code: 'SLED_SESSION_INVALID_OPTION',
    message: /"session" is taken/
  })
})

test('it registers @fastify/cookie, or uses the one that is there', async (t) => {
  const { default: fastifyCookie } = await import('@fastify/cookie')
  for (const already of [false, true]) {
    const app = Fastify()
    t.teardown(() => app.close())
    if (already) await app.register(fastifyCookie)
    await app.register(sledSession, { store: new MemoryStore() })
    app.get('/', async (request, reply) => {
      reply.setCookie('a', '1')
      return request.cookies
    })
    const response = await fetch(await listen(app), { headers: { cookie: 'b=2' } })
    t.same(await response.json(), { b: '2' })
    t.equal(cookieOf(response), 'a=1')
  }
})

test('routes in encapsulated plugins have the session as well', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(sledSession, { store: new MemoryStore(), secure: false })
  await app.register(async (inner) => addCounter(inner), { prefix: '/inner' })
  addCounter(app)
  const url = await listen(app)
  const cookie = cookieOf(await fetch(`${url}/inner/`)) ?? ''
  t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'Current count: 1')
})

test('registered within an encapsulated plugin it stays inside', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(async (inner) => {
    await inner.register(sledSession, { store: new MemoryStore(), secure: false })
    inner.get('/inner', async (request) => request.session.set('counter', 1))
  })
  app.get('/outer', async (request) => typeof request.session)
  const url = await listen(app)
  t.ok(cookieOf(await fetch(`${url}/inner`)))
  t.equal(await (await fetch(`${url}/outer`)).text(), 'undefined')
})

test('an option of a route that would be ignored is refused', async (t) => {
  const cases: [config: unknown, option: string][] = [
    [{ rolling: false }, 'config\\.session\\.rolling'],
    [{ exclusive: true, maxQueue: 4 }, 'config\\.session\\.maxQueue'],
    [true, 'config\\.session'],
    [null, 'config\\.session'],
    ['no', 'config\\.session']
  ]
  for (const [session, option] of cases) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(sledSession, { store: new MemoryStore() })
    t.throws(() => app.get('/', { config: { session } as object }, async () => 'x'), {
      code: 'SLED_SESSION_INVALID_OPTION',
      message: new RegExp(`"${option}"`)
    })
  }
})
