import { test } from 'tap'
import { onInactivity } from '../../../lib/index.js'
import type { RocksDatabase } from '../../../lib/store/rocksdb/engine/binding.js'
import { GroupCommit, type Write } from '../../../lib/store/rocksdb/engine/group-commit.js'
import {
  addCounter,
  cookieOf,
  createApp,
  listen,
  TestClock,
  temporaryFolder
} from '../../support/app.js'
import { countKind, openApplicationDatabase, readDatabase } from '../../support/rocksdb.js'
import { settle } from '../../support/touches.js'

test('requests that change nothing write nothing, and without a cookie read nothing', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const app = await createApp(t, { db })
  t.teardown(() => db.close())
  addCounter(app)
  app.get('/reads', async (request) => request.session.get('counter') ?? 'none')
  app.get('/untouched', async () => 'hello')
  const url = await listen(app)

  const start = { ...traffic }
  await fetch(`${url}/reads`)
  await fetch(`${url}/untouched`)
  t.same(traffic, start, 'without a cookie')

  const cookie = cookieOf(await fetch(url)) ?? ''
  t.equal(traffic.writes, start.writes + 1, 'a change is one write')

  const before = { ...traffic }
  for (const path of ['/reads', '/untouched']) await fetch(url + path, { headers: { cookie } })
  t.same(traffic, before, 'with a live session')
  await app.close()
})

test('all saves of one turn of the event loop share one write', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const app = await createApp(t, { db })
  t.teardown(() => db.close())
  let waiting = 0
  let go = (): void => {}
  const all = new Promise<void>((resolve) => {
    go = resolve
  })
  app.get('/', async (request) => {
    if (++waiting === 40) go()
    await all
    request.session.set('counter', waiting)
    return 'done'
  })
  await app.ready()
  const before = traffic.writes
  const responses = await Promise.all(Array.from({ length: 40 }, () => app.inject('/')))
  t.ok(responses.every(({ statusCode, cookies }) => statusCode === 200 && cookies.length === 1))
  t.equal(traffic.writes - before, 1)
  t.equal(await app.sessions.count(), 40)
  await app.close()
})

test('touches are stored, and the cookie sent again, only when touchInterval has passed', async (t) => {
  const clock = new TestClock()
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  t.teardown(() => db.close())
  const expiry = onInactivity({ seconds: 100 })
  const app = await createApp(t, { db, now: clock.now, expiry })
  addCounter(app)
  app.get('/reads', async (request) => request.session.expiresIn)
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const read = async () => {
    const before = traffic.writes
    const response = await fetch(`${url}/reads`, { headers: { cookie } })
    t.equal(await response.text(), '100000', 'the deadline in memory is exact')
    t.equal(traffic.writes, before, 'the response has waited for no write')
    await settle(app)
    return { wrote: traffic.writes - before, sent: response.headers.getSetCookie() }
  }

  clock.advance({ milliseconds: 9999 })
  t.same(await read(), { wrote: 0, sent: [] })
  clock.advance({ milliseconds: 1 })
  const { wrote, sent } = await read()
  t.equal(wrote, 1)
  t.match(sent[0], /^id=[^;]+; Max-Age=110;/)
  t.same(await read(), { wrote: 0, sent: [] })
  await app.close()
})

test('a session-end cookie is not sent again when its deadline moves', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { now: clock.now, touchInterval: { seconds: 5 } })
  addCounter(app)
  app.get('/reads', async () => 'hello')
  const url = await listen(app)
  const first = await fetch(url)
  const cookie = cookieOf(first) ?? ''
  t.notMatch(first.headers.getSetCookie()[0], /Max-Age/)
  const handle = (await app.sessions.load(cookie))?.handle ?? ''
  clock.advance({ seconds: 6 })
  const response = await fetch(`${url}/reads`, { headers: { cookie } })
  t.same(response.headers.getSetCookie(), [])
  t.same((await app.sessions.get(handle))?.lastSeenAt, new Date(clock.time))
})

test('with rolling: false only changes count as activity', async (t) => {
  const clock = new TestClock()
  const expiry = onInactivity({ seconds: 100 })
  const app = await createApp(t, { now: clock.now, expiry, rolling: false })
  addCounter(app)
  app.get('/reads', async (request) => request.session.get('counter') ?? 'none')
  app.get('/touches', async (request) => request.session.touch())
  const url = await listen(app)
  const get = async (path: string) => {
    const response = await fetch(url + path, { headers: { cookie } })
    return { text: await response.text(), sent: response.headers.getSetCookie().length }
  }
  const cookie = cookieOf(await fetch(url)) ?? ''
  clock.advance({ seconds: 60 })
  t.same(await get('/reads'), { text: '1', sent: 0 })
  clock.advance({ seconds: 39 })
  t.same(await get('/'), { text: 'Current count: 1', sent: 1 })
  clock.advance({ seconds: 60 })
  t.equal((await get('/touches')).sent, 1)
  clock.advance({ seconds: 99 })
  t.same(await get('/reads'), { text: '2', sent: 0 })
  clock.advance({ seconds: 1 })
  t.equal((await get('/reads')).text, 'none')
})

test('alwaysSave stores and sends the cookie with each response', async (t) => {
  const clock = new TestClock()
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  t.teardown(() => db.close())
  const app = await createApp(t, { db, now: clock.now, alwaysSave: true, rolling: false })
  addCounter(app)
  app.get('/untouched', async () => 'hello')
  const url = await listen(app)
  t.notOk(cookieOf(await fetch(`${url}/untouched`)), 'not for strangers')
  const cookie = cookieOf(await fetch(url)) ?? ''
  const before = traffic.writes
  clock.advance({ seconds: 1 })
  const response = await fetch(`${url}/untouched`, { headers: { cookie } })
  t.equal(cookieOf(response), cookie)
  t.equal(traffic.writes - before, 1)
  await app.close()
})

test('an absolute timeout ends even the most active session, and its cookie with it', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, {
    now: clock.now,
    expiry: onInactivity({ seconds: 60 }),
    absoluteTimeout: { seconds: 100 }
  })
  addCounter(app)
  const url = await listen(app)
  const get = async () => {
    const response = await fetch(url, { headers: { cookie } })
    return { text: await response.text(), sent: response.headers.getSetCookie()[0] ?? '' }
  }
  const cookie = cookieOf(await fetch(url)) ?? ''
  clock.advance({ seconds: 50 })
  t.match((await get()).sent, /; Max-Age=56;/)
  clock.advance({ seconds: 49 })
  t.equal((await get()).text, 'Current count: 2')
  clock.advance({ seconds: 1 })
  const late = await get()
  t.equal(late.text, 'Current count: 0')
  t.not(late.sent.split(';')[0], cookie)
})

test('the id is nowhere on disk, only its hash', async (t) => {
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path })
  addCounter(app)
  const cookie = cookieOf(await fetch(await listen(app))) ?? ''
  await app.close()
  const id = cookie.slice('id='.length)
  const entries = await readDatabase(path)
  const raw = Buffer.from(id, 'base64url')
  const found = entries.filter(([key, value]) => {
    const both = Buffer.concat([key, value])
    return both.includes(id) || both.includes(raw)
  })
  t.same(found, [])
  t.equal(countKind(entries, 1), 1)
  t.equal(countKind(entries, 2), 1)
})

test('a write that answers another one waits its turn: there is one batch at a time', async (t) => {
  let underWay = 0
  let most = 0
  let batches = 0
  const batch = {
    async flush() {
      batches++
      most = Math.max(most, ++underWay)
      await new Promise((resolve) => setTimeout(resolve, 2))
      underWay--
    }
  }
  const db = { write: () => batch } as unknown as RocksDatabase
  const commit = new GroupCommit({ db })
  const write = (answers: number): Write => ({
    writeTo() {},
    settled() {
      if (answers === 0) return
      commit.add(write(answers - 1))
      setImmediate(() => commit.add(write(0)))
    }
  })
  await commit.add(write(5))
  await commit.drain()
  await new Promise((resolve) => setTimeout(resolve, 5))
  await commit.drain()
  t.equal(most, 1)
  t.ok(batches >= 6)
})
