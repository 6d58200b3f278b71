import { test } from 'tap'
import { onInactivity } from '../../lib/index.js'
import {
  addCounter,
  cookieOf,
  createApp,
  listen,
  TestClock,
  temporaryFolder
} from '../support/app.js'

const HOUR = 3600
const expiry = onInactivity({ hours: 1 })

test('a clock that steps forward ends exactly the sessions whose deadline it passes', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { now: clock.now, expiry })
  addCounter(app)
  app.get('/long', async (request) => {
    request.session.expiry = onInactivity({ hours: 12 })
    request.session.set('counter', 5)
    return 'long'
  })
  const url = await listen(app)
  await fetch(url)
  const cookie = cookieOf(await fetch(`${url}/long`)) ?? ''
  clock.advance({ seconds: 5 * HOUR })
  t.equal(await app.sessions.deleteExpired(), 1)
  t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'Current count: 5')
})

test('a clock that steps back deletes nothing early, and what is filed then is found on time', async (t) => {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path, now: clock.now, expiry })
  addCounter(app)
  const url = await listen(app)
  clock.advance({ seconds: 5 * HOUR })
  const old = cookieOf(await fetch(url)) ?? ''
  // This run has seen all up to now; the next sessions are filed before that.
  t.equal(await app.sessions.deleteExpired(), 0)
  clock.advance({ seconds: -5 * HOUR })
  t.equal(await app.sessions.deleteExpired(), 0)
  const young = cookieOf(await fetch(url)) ?? ''
  clock.advance({ seconds: HOUR - 1 })
  t.equal(await app.sessions.deleteExpired(), 0)
  clock.advance({ seconds: 1 })
  t.equal(await app.sessions.deleteExpired(), 1)
  t.equal(await (await fetch(url, { headers: { cookie: young } })).text(), 'Current count: 0')
  t.equal(await (await fetch(url, { headers: { cookie: old } })).text(), 'Current count: 1')
})

test('a deadline that moves back with the clock is stored, and outlives a restart', async (t) => {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path, now: clock.now, expiry })
  addCounter(app)
  app.get('/reads', async () => 'hello')
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  clock.advance({ seconds: -5 * HOUR })
  await fetch(`${url}/reads`, { headers: { cookie } })
  await app.close()

  const again = await createApp(t, { path, now: clock.now, expiry })
  clock.advance({ seconds: HOUR })
  t.equal(await again.sessions.deleteExpired(), 1)
})

test('a clock that steps back during a run saves those that it makes young again', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { now: clock.now, expiry })
  addCounter(app)
  await app.ready()
  for (let index = 0; index < 200; index++) await app.inject('/')
  const due = clock.time + HOUR * 1000
  clock.time = due
  const onProgress = (): void => {
    clock.time = due - 2000
  }
  t.equal(await app.sessions.deleteExpired({ onProgress }), 128)
  t.equal(await app.sessions.count(), 72)
  clock.time = due
  t.equal(await app.sessions.deleteExpired(), 72)
})

test('whatever the clock does, no deadline lies behind the absolute limit', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { now: clock.now, expiry, absoluteTimeout: { hours: 3 } })
  addCounter(app)
  const url = await listen(app)
  const start = clock.time
  const cookie = cookieOf(await fetch(url)) ?? ''
  const handle = (await app.sessions.load(cookie))?.handle ?? ''
  const limit = start + 3 * HOUR * 1000
  for (const hours of [0.5, -2, 0.9, 0.9, 0.9, 0.9, 0.8]) {
    clock.advance({ seconds: hours * HOUR })
    await fetch(url, { headers: { cookie } })
    const session = await app.sessions.get(handle)
    t.ok((session?.expiresAt?.getTime() ?? Number.NaN) <= limit)
  }
  clock.time = limit
  t.equal(await app.sessions.get(handle), null)
  await app.sessions.deleteExpired()
  t.equal(await app.sessions.count(), 0)
})

test('a shorter expiry after a restart shortens the sessions that go on', async (t) => {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path, now: clock.now, expiry: onInactivity({ days: 14 }) })
  addCounter(app)
  app.get('/reads', async () => 'hello')
  const cookie = cookieOf(await fetch(await listen(app))) ?? ''
  await app.close()

  const again = await createApp(t, { path, now: clock.now, expiry })
  again.get('/reads', async () => 'hello')
  const response = await fetch(`${await listen(again)}/reads`, { headers: { cookie } })
  t.match(response.headers.getSetCookie()[0], /Max-Age=3660/)
  clock.advance({ seconds: HOUR })
  t.equal(await again.sessions.deleteExpired(), 1)
})

test("a touchInterval longer than a session's own expiry does not end it while it is used", async (t) => {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  const options = { path, now: clock.now, touchInterval: { seconds: 60 } }
  const app = await createApp(t, options)
  app.get('/set', async ({ session }) => {
    session.expiry = onInactivity({ seconds: 30 })
    session.set('counter', 1)
  })
  app.get('/', async ({ session }) => String(session.get('counter')))
  const cookie = String((await app.inject('/set')).headers['set-cookie']).split(';')[0] ?? ''
  for (let visit = 0; visit < 3; visit++) {
    clock.advance({ seconds: 20 })
    t.equal((await app.inject({ url: '/', headers: { cookie } })).body, '1')
  }
  await app.close()
  const again = await createApp(t, options)
  t.ok(await again.sessions.load(cookie), 'and disk knows of its use')
})
