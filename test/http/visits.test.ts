import Fastify from 'fastify'
import { test } from 'tap'
import { onInactivity, sledSession } from '../../lib/index.js'
import {
  addCounter,
  cookieOf,
  createApp,
  listen,
  TestClock,
  temporaryFolder
} from '../support/app.js'

async function visit(url: string, cookie?: string): Promise<{ text: string; response: Response }> {
  const response = await fetch(url, cookie === undefined ? {} : { headers: { cookie } })
  return { text: await response.text(), response }
}

test('a visitor counts up, and others count for themselves', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  const url = await listen(app)

  const first = await visit(url)
  t.equal(first.text, 'Current count: 0')
  const cookie = cookieOf(first.response)
  t.equal((await visit(url, cookie)).text, 'Current count: 1')
  t.equal((await visit(url, cookie)).text, 'Current count: 2')
  t.equal((await visit(url)).text, 'Current count: 0')
})

test('the defaults alone give a safe cookie', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(sledSession, { path: await temporaryFolder(t) })
  addCounter(app)
  const { response } = await visit(await listen(app))

  const [header = ''] = response.headers.getSetCookie()
  t.match(header, /^id=[A-Za-z0-9_-]{43}; Path=\/; HttpOnly; SameSite=Lax; Secure$/)
  t.equal(response.headers.get('cache-control'), 'no-store')
})

test('a new visitor gets a session only when something is set', async (t) => {
  const app = await createApp(t)
  app.get('/reads', async (request) => request.session.get('counter') ?? 'nothing')
  app.get('/looks', async (request) => ({
    has: request.session.has('counter'),
    keys: request.session.keys(),
    isNew: request.session.isNew,
    deletes: request.session.delete('counter')
  }))
  app.get('/untouched', async () => 'hello')
  const url = await listen(app)

  for (const path of ['/reads', '/looks', '/untouched']) {
    const { response } = await visit(url + path)
    t.equal(response.status, 200)
    t.same(response.headers.getSetCookie(), [], path)
    t.notOk(response.headers.has('cache-control'), path)
  }
  t.equal(await app.sessions.count(), 0)
})

test('saveUninitialized gives every visitor a session, but not where a route opts out', async (t) => {
  const app = await createApp(t, { saveUninitialized: true })
  app.get('/', async () => 'hello')
  app.get('/without', { config: { session: false } }, async () => 'hello')
  const url = await listen(app)

  t.ok(cookieOf((await visit(url)).response))
  t.equal(await app.sessions.count(), 1)
  t.notOk(cookieOf((await visit(`${url}/without`)).response))
  t.equal(await app.sessions.count(), 1)
})

test('a session is there again after a restart', async (t) => {
  const path = await temporaryFolder(t)
  const before = await createApp(t, { path })
  addCounter(before)
  const cookie = cookieOf((await visit(await listen(before))).response)
  await before.close()

  const after = await createApp(t, { path })
  addCounter(after)
  const url = await listen(after)
  t.equal((await visit(url, cookie)).text, 'Current count: 1')
  t.equal((await visit(url, cookie)).text, 'Current count: 2')
})

test('1,000 parallel requests with one cookie count to exactly 1,000', async (t) => {
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path })
  addCounter(app)
  const url = await listen(app)
  const cookie = cookieOf((await visit(url)).response)

  const texts = await Promise.all(Array.from({ length: 999 }, () => visit(url, cookie)))
  t.equal(new Set(texts.map(({ text }) => text)).size, 999, 'each request saw a count of its own')
  t.equal((await visit(url, cookie)).text, 'Current count: 1000')

  // And the same from disk, where all of them wait for one read.
  await app.close()
  const cold = await createApp(t, { path })
  addCounter(cold)
  const coldUrl = await listen(cold)
  await Promise.all(Array.from({ length: 500 }, () => visit(coldUrl, cookie)))
  t.equal((await visit(coldUrl, cookie)).text, 'Current count: 1501')
})

test('no request goes to the store without a cookie of our form', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  app.get('/reads', async (request) => request.session.get('counter') ?? 'nothing')
  const url = await listen(app)
  const id = 'A'.repeat(43)

  for (const cookie of [
    undefined,
    'other=1',
    'id=',
    'id=garbage',
    `id=${id.slice(1)}`,
    `id=${id}A`,
    `id=${'x'.repeat(3000)}`,
    `id=${id.slice(0, 42)}B`,
    `id=${id}; id=${id}`,
    `id="${id}`,
    `xid=${id}`,
    `id =${id}`,
    '=;=;;;id'
  ]) {
    const { text, response } = await visit(`${url}/reads`, cookie)
    t.equal(response.status, 200, `${cookie}`)
    t.equal(text, 'nothing', `${cookie}`)
    t.same(response.headers.getSetCookie(), [], `${cookie}`)
  }
})

test('an id that we did not issue is never taken over', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  const url = await listen(app)
  const planted = `id=${'A'.repeat(43)}`

  const { text, response } = await visit(url, planted)
  t.equal(text, 'Current count: 0')
  t.ok(cookieOf(response))
  t.not(cookieOf(response), planted)
  t.equal((await visit(url, planted)).text, 'Current count: 0')
})

test('a session ends after its inactivity, for the visitor and on disk', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { now: clock.now, expiry: onInactivity({ seconds: 10 }) })
  addCounter(app)
  const url = await listen(app)
  const first = await visit(url)
  const cookie = cookieOf(first.response)
  t.match(first.response.headers.getSetCookie()[0], /; Max-Age=11;/)

  clock.advance({ milliseconds: 9999 })
  t.equal((await visit(url, cookie)).text, 'Current count: 1')
  clock.advance({ milliseconds: 9999 })
  t.equal((await visit(url, cookie)).text, 'Current count: 2')
  clock.advance({ seconds: 10 })
  const late = await visit(url, cookie)
  t.equal(late.text, 'Current count: 0')
  t.not(cookieOf(late.response), cookie)
})

test('a route can do without a session', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  app.get('/without', { config: { session: false } }, async (request) => ({
    counter: request.session.get('counter') ?? 'none'
  }))
  const url = await listen(app)
  const cookie = cookieOf((await visit(url)).response)

  const { text, response } = await visit(`${url}/without`, cookie)
  t.same(JSON.parse(text), { counter: 'none' })
  t.same(response.headers.getSetCookie(), [])
  t.equal((await visit(url, cookie)).text, 'Current count: 1')
})

test('a route without a session refuses to keep anything, by an error that says so', async (t) => {
  const app = await createApp(t)
  app.get('/', { config: { session: false } }, async (request) => {
    request.session.set('counter', 1)
  })
  const { text, response } = await visit(await listen(app))
  t.equal(response.status, 500)
  t.equal(JSON.parse(text).code, 'SLED_SESSION_ROUTE_WITHOUT_SESSION')
  t.equal(await app.sessions.count(), 0)
})

test('a hook that comes before the session is loaded is told so', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.addHook('onRequest', async (request) => {
    request.session.set('counter', 1)
  })
  await app.register(sledSession, { path: await temporaryFolder(t), secure: false })
  addCounter(app)
  const { text, response } = await visit(await listen(app))
  t.equal(response.status, 500)
  t.equal(JSON.parse(text).code, 'SLED_SESSION_NOT_LOADED')
})
