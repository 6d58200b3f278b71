import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import express from 'express'
import session from 'express-session'
import { type Test, test } from 'tap'
import { type ExpressStore, type ExpressStoreOptions, toExpressStore } from '../../lib/express.js'
import { MemoryStore, openSessionStore } from '../../lib/index.js'
import { temporaryFolder } from '../support/app.js'

const secret = 'a secret of thirty-two characters'
const { Store } = session

declare module 'express-session' {
  interface SessionData {
    visits: number
  }
}

async function storeFor(t: Test, options: ExpressStoreOptions = {}): Promise<ExpressStore> {
  const opened = await openSessionStore(await temporaryFolder(t), { durability: 'process' })
  const store = toExpressStore(opened, { Store, reapInterval: false, ...options })
  t.teardown(() => store.close())
  return store
}

type Work = (request: express.Request) => void

/** Visits a site of express-session; resolves to the cookie that was set, and its attributes. */
async function siteFor(t: Test, store: session.Store, options: Partial<session.SessionOptions>) {
  const works: Work[] = []
  const app = express()
  app.use(session({ secret, store, resave: false, saveUninitialized: true, ...options }))
  app.get('/', (request, response) => {
    works.shift()?.(request)
    response.send(String(request.session?.cookie.originalMaxAge))
  })
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return async (cookie = '', work: Work = () => {}) => {
    works.push(work)
    const headers = { cookie, 'x-forwarded-proto': 'https' }
    const response = await fetch(url, { headers })
    const [set = ''] = response.headers.getSetCookie()
    const [pair = '', ...attributes] = set.split('; ')
    return { pair, attributes, body: await response.text() }
  }
}

const idOf = (pair: string): string =>
  decodeURIComponent(pair.split('=')[1] ?? '').slice(2, -44) ?? ''
const expiresOf = (attributes: string[]): number =>
  Date.parse(attributes.find((text) => text.startsWith('Expires='))?.slice(8) ?? '')

for (const make of [storeFor, async () => new session.MemoryStore()]) {
  const name = make === storeFor ? 'our store' : 'the MemoryStore of express-session'

  test(`${name}: a cookie that is sent again has all that the first one had`, async (t) => {
    const cookie = {
      maxAge: 600_000,
      httpOnly: true,
      secure: true,
      sameSite: 'strict',
      path: '/',
      domain: 'example.org',
      partitioned: true,
      priority: 'high'
    } as const
    const get = await siteFor(t, await make(t), { cookie, rolling: true, proxy: true })
    const first = await get()
    t.same(first.attributes.filter((text) => !text.startsWith('Expires=')).sort(), [
      'Domain=example.org',
      'HttpOnly',
      'Partitioned',
      'Path=/',
      'Priority=High',
      'SameSite=Strict',
      'Secure'
    ])
    const again = await get(first.pair)
    t.equal(again.pair, first.pair)
    const rest = (texts: string[]) => texts.filter((text) => !text.startsWith('Expires='))
    t.same(rest(again.attributes), rest(first.attributes))
    t.equal(again.body, '600000')
  })

  test(`${name}: the deadline slides, and a maxAge of the application's stays`, async (t) => {
    const store = await make(t)
    const get = await siteFor(t, store, { cookie: { maxAge: 600_000 }, rolling: true })
    const { pair } = await get()
    const stored = (await read(store, idOf(pair))) as session.SessionData
    // As if it had been stored five minutes ago.
    const half = new Date(Date.now() + 300_000)
    stored.cookie = { ...stored.cookie, expires: half } as session.Cookie
    await new Promise((resolve) => store.set(idOf(pair), stored, resolve))
    const slid = await get(pair)
    t.ok(expiresOf(slid.attributes) > half.getTime() + 200_000)
    const kept = (await read(store, idOf(pair))) as session.SessionData
    t.ok(Number(new Date(String(kept.cookie.expires))) > half.getTime() + 200_000)

    await get(pair, (request) => {
      request.session.cookie.maxAge = 7_200_000
    })
    const long = await get(pair)
    t.equal(long.body, '7200000')
    t.ok(expiresOf(long.attributes) > Date.now() + 7_000_000)
  })

  test(`${name}: an id is made once, and a session that is loaded has a cookie`, async (t) => {
    let made = 0
    const genid = (): string => `id ${++made}`
    const store = await make(t)
    const get = await siteFor(t, store, { genid, proxy: true, cookie: { secure: 'auto' } })
    const { pair } = await get()
    await get(pair, (request) => void request.session.reload(() => {}))
    await get(pair)
    const loaded = await new Promise<session.SessionData | undefined>((resolve, reject) =>
      store.load('id 1', (error, found) => (error ? reject(error) : resolve(found)))
    )
    t.match(loaded, { id: 'id 1', cookie: { httpOnly: true, path: '/', originalMaxAge: null } })
    t.type(loaded?.cookie.expires, 'null')
    t.equal(made, 1)
  })

  test(`${name}: a cookie without an expiry is no session that has run out`, async (t) => {
    const store = await make(t)
    for (const expires of [false, null, undefined] as (Date | null | undefined)[]) {
      const cookie = { expires, originalMaxAge: null }
      const bare = { cookie, visits: 1 } as unknown as session.SessionData
      await new Promise((resolve) => store.set('sid', bare, resolve))
      t.match(await read(store, 'sid'), { visits: 1 })
    }
  })
}

function read(store: session.Store, sid: string): Promise<unknown> {
  return new Promise((resolve, reject) =>
    store.get(sid, (error, found) => (error ? reject(error) : resolve(found)))
  )
}

const cookie = {}

test('without a callback there is a promise, and what is counted is what is listed', async (t) => {
  const time = Date.now()
  const path = await temporaryFolder(t)
  const store = toExpressStore(await openSessionStore(path), { reapInterval: false })
  await store.set('short', { cookie: { expires: new Date(time - 1) } })
  for (const sid of ['a', 'b', 'c']) await store.set(sid, { cookie, ...{ sid } })
  t.match(await store.get('a'), { sid: 'a' })
  await store.touch('a', { cookie: { expires: new Date(time + 90_000) } })
  t.equal((await store.all()).length, 3)
  t.equal(await store.length(), 3, 'not what has run out and is not deleted yet')
  const ids = await store.ids()
  t.equal(new Set(ids).size, 3)
  for (const id of ids) t.equal(await store.get(id), null, 'the hash of an id logs nobody in')
  await store.destroy('a')
  t.equal(await store.length(), 2)
  await store.clear()
  t.same([await store.length(), await store.all(), await store.ids()], [0, [], []])
  t.notOk(
    store.get('b', () => {}),
    'with one there is none'
  )
  await store.close()
  await t.rejects(store.get('b'))
  t.doesNotThrow(() => void store.destroy('b'), 'and a failure that nobody awaits ends nothing')
})

test('a late save does not bring back a session that was destroyed', async (t) => {
  let time = Date.now()
  const store = await storeFor(t, { now: () => time })
  const destroy: Work = (request) => request.session.destroy(() => {})
  const get = await siteFor(t, store as unknown as session.Store, { genid: () => 'one' })
  const { pair } = await get()
  let late: session.Session | undefined
  await get(pair, (request) => {
    late = request.session
    request.session.visits = 1
  })
  await get(pair, destroy)
  const save = () => new Promise((resolve) => late?.save(resolve))
  t.equal(await save(), null)
  t.equal(await store.get('one'), null)
  await store.set('one', { cookie })
  t.equal(await store.get('one'), null, 'nor one whose beginning nobody saw')

  const { pair: anew } = await get()
  t.equal(idOf(anew), 'one')
  t.match(await store.get('one'), { cookie: {} }, 'a new session under the same id is another')
  await store.clear()
  await save()
  t.equal(await store.get('one'), null, 'nor after all were ended')
  time += 61_000
  await save()
  t.match(await store.get('one'), { visits: 1 }, 'it is remembered for a minute')
})

test('what is stored is what the session was when it was handed over', async (t) => {
  const store = await storeFor(t)
  const changing = { cookie, visits: 1 }
  const first = store.set('sid', changing)
  const second = store.set('sid', changing)
  changing.visits = 2
  await Promise.all([first, second])
  t.match(await store.get('sid'), { visits: 1 })
})

test('what cannot work is refused', async (t) => {
  const opened = new MemoryStore()
  const code = 'SLED_SESSION_INVALID_OPTION'
  const wrong: unknown[][] = [
    [{}],
    [undefined],
    [opened, { Store: 5 }],
    [opened, { Store: class {} }],
    [opened, { sessionEndLimit: 0 }],
    [opened, { reapInterval: 2 ** 31 }],
    [opened, { now: 5 }]
  ]
  for (const [store, options] of wrong) {
    t.throws(() => toExpressStore(store as MemoryStore, options as ExpressStoreOptions), { code })
  }
  const { EventEmitter } = await import('node:events')
  const bare = toExpressStore(opened, { Store: EventEmitter, reapInterval: false })
  const use = () => session({ secret, store: bare, resave: false, saveUninitialized: false })
  t.throws(use, { code, message: /session\.Store/ }, 'at the start, not at the first visit')
  t.ok(toExpressStore(opened, { reapInterval: false }) instanceof Store)
})
