// First: what is loaded later finds its intervals held.
import '../support/held-timers.js'

import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import { type Test, test } from 'tap'
import { MemoryStore, onInactivity, type SledSessionOptions, sledSession } from '../../lib/index.js'
import { LmdbStore } from '../../lib/lmdb.js'
import { handleOf } from '../../lib/record/handle.js'
import { until } from '../../scripts/servers/until.js'
import { cookieOf, createApp, TestClock, temporaryFolder } from '../support/app.js'
import { startChild } from '../support/child.js'
import { Gate } from '../support/gate.js'
import { passTime } from '../support/held-timers.js'
import { openApplicationDatabase, type Traffic } from '../support/rocksdb.js'
import { begin, readFrom, serve, settle } from '../support/touches.js'

const SECOND = 1000
const expiry = onInactivity({ minutes: 30 })

/** An application on a database whose writes are counted, and can be held back. */
async function counted(t: Test, options: SledSessionOptions = {}, server?: FastifyServerOptions) {
  const clock = new TestClock()
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const app = await createApp(t, { db, now: clock.now, expiry, ...options }, server)
  app.addHook('onClose', () => db.close())
  return { app, get: serve(app), traffic, clock }
}

/** A handler that changes its session, and fails when it is told to. */
function failing(app: FastifyInstance) {
  const [half, rest] = [new Gate(), new Gate()]
  app.get('/fails', async ({ session }) => {
    session.set('counter', 100)
    half.open()
    await rest.opened
    throw new Error('the handler failed')
  })
  return { half, rest }
}

/** Begins a save whose write hangs until it is released: what comes meanwhile waits behind it. */
async function stall(traffic: Traffic, save: () => Promise<{ status: number }>) {
  const gate = new Gate()
  traffic.held = { what: 'write', until: gate.opened }
  const { writes } = traffic
  const saving = save()
  await until(() => traffic.writes > writes)
  const release = (): void => {
    traffic.held = null
    gate.open()
  }
  return { saving, writes, release }
}

test('whoever only reads does not wait for a store that hangs, however long', async (t) => {
  const lines: string[] = []
  const logger = { level: 'error', stream: { write: (line: string) => void lines.push(line) } }
  const { app, get, traffic, clock } = await counted(t, {}, { logger })
  const { cookie } = await begin(app)
  const gate = new Gate()
  traffic.held = { what: 'write', until: gate.opened }
  const { writes } = traffic
  clock.advance({ seconds: 61 })
  t.equal((await get('/read', cookie)).status, 200)
  passTime(SECOND)
  await until(() => traffic.writes > writes)
  for (let round = 0; round < 5; round++) {
    passTime(11 * SECOND)
    clock.advance({ seconds: 61 })
    t.equal((await get('/read', cookie)).body, '1')
    t.equal((await get('/look', cookie)).status, 200)
  }
  await until(() => lines.length > 0)
  t.equal(traffic.writes, writes + 1, 'nor is it asked again meanwhile')
  t.equal(lines.length, 1)
  gate.open()
  traffic.held = null
  await settle(app)
  t.equal(traffic.writes, writes + 2)
  t.equal((await get('/read', cookie)).body, '1')
  await app.close()
})

test('what is saved meanwhile is not stored once more', async (t) => {
  const { app, get, traffic, clock } = await counted(t)
  const { cookie } = await begin(app)
  clock.advance({ seconds: 61 })
  const { writes } = traffic
  await get('/read', cookie)
  await get('/set', cookie)
  t.equal(traffic.writes, writes + 1)
  passTime(SECOND)
  await settle(app)
  t.equal(traffic.writes, writes + 1)
  await app.close()
})

test('many visits of a second are one write', async (t) => {
  const { app, get, traffic, clock } = await counted(t)
  const visitors = []
  for (let visitor = 0; visitor < 100; visitor++) visitors.push(await begin(app))
  clock.advance({ seconds: 61 })
  const { writes } = traffic
  for (const { cookie } of [...visitors, ...visitors]) await get('/read', cookie)
  t.equal(traffic.writes, writes)
  passTime(SECOND)
  await settle(app)
  t.equal(traffic.writes, writes + 1)
  passTime(10 * SECOND)
  await settle(app)
  t.equal(traffic.writes, writes + 1)
  await app.close()
})

test('a session that is about to end by what is stored of it is stored at once', async (t) => {
  const { app, get, traffic, clock } = await counted(t)
  const { cookie } = await begin(app)
  clock.advance({ seconds: 30 * 60 - 5 })
  const { writes } = traffic
  t.equal((await get('/read', cookie)).status, 200)
  await until(() => traffic.writes === writes + 1)
  t.pass('no time has passed')
  await app.close()
})

test('of changes that are only half made nothing is stored', async (t) => {
  const clock = new TestClock()
  const store = new MemoryStore()
  const app = await createApp(t, { store, now: clock.now, expiry, saveOnError: false })
  const get = serve(app)
  const { half, rest } = failing(app)
  const { cookie, handle } = await begin(app)
  clock.advance({ seconds: 61 })
  await get('/read', cookie)
  const failed = get('/fails', cookie)
  await half.opened
  passTime(SECOND)
  await settle(app)
  t.equal((await store.read(handle))?.data.get('counter'), '1')
  rest.open()
  t.equal((await failed).status, 500)
  t.equal((await get('/read', cookie)).body, '1')
  passTime(SECOND)
  await settle(app)
  t.equal((await store.read(handle))?.lastSeenAt, clock.time, 'and the touch is not forgotten')
})

/** What an export has of a session: that is read from the disk. */
async function exported(app: FastifyInstance, handle: string) {
  let text = ''
  for await (const piece of app.sessions.export()) text += piece
  const line = text.split('\n').find((each) => each.includes(handle)) ?? 'null'
  return JSON.parse(line) as { data: { counter: number }; lastSeenAt: string } | null
}

test('nor is what is half made by the time that the write goes out', async (t) => {
  const { app, get, traffic, clock } = await counted(t, { saveOnError: false })
  const { half, rest } = failing(app)
  const [visitor, other] = [await begin(app), await begin(app)]
  clock.advance({ seconds: 61 })
  await get('/read', visitor.cookie)
  const { saving, release } = await stall(traffic, () => get('/set', other.cookie))
  // The touch waits for the write that is under way, and the change comes before its own.
  passTime(SECOND)
  const failed = get('/fails', visitor.cookie)
  await half.opened
  release()
  t.equal((await saving).status, 200)
  await settle(app)
  t.match(await exported(app, visitor.handle), { data: { counter: 1 } })
  rest.open()
  t.equal((await failed).status, 500)
  t.equal((await get('/read', visitor.cookie)).body, '1')
  const seen = new Date(clock.time).toISOString()
  t.match(await exported(app, visitor.handle), { data: { counter: 1 }, lastSeenAt: seen })
  await app.close()
})

test('a change that joins the write of a touch is stored with it, and so is an end', async (t) => {
  const { app, get, traffic, clock } = await counted(t)
  app.get('/end', async ({ session }) => session.destroy())
  const [changed, ended, other] = [await begin(app), await begin(app), await begin(app)]
  clock.advance({ seconds: 61 })
  await get('/read', changed.cookie)
  await get('/read', ended.cookie)
  const { saving, writes, release } = await stall(traffic, () => get('/set', other.cookie))
  passTime(SECOND)
  const changing = get('/set', changed.cookie)
  const ending = get('/end', ended.cookie)
  await until(async () => (await app.sessions.get(changed.handle))?.get('counter') === 2)
  release()
  await Promise.all([saving, changing, ending])
  t.match(await exported(app, changed.handle), { data: { counter: 2 } })
  t.equal(await exported(app, ended.handle), null)
  t.equal(traffic.writes, writes + 2)
  await app.close()
})

test('sessions that requests keep half made take no room from the touches of others', async (t) => {
  const clock = new TestClock()
  const store = new MemoryStore()
  const maxRecordSize = 2 * 1024 * 1024
  const app = await createApp(t, { store, now: clock.now, expiry, maxRecordSize })
  const get = serve(app)
  const rest = new Gate()
  let held = 0
  app.get('/holds', async ({ session }) => {
    session.set('counter', 100)
    held++
    await rest.opened
  })
  const { cookie, handle } = await begin(app)
  const holding = []
  // With the KiB that each counts more, they would leave less than one of all that may wait.
  const much = 'x'.repeat(1024 * 1024 - 1024 - 50)
  for (let visitor = 0; visitor < 16; visitor++) {
    const session = await app.sessions.create({ data: { much } })
    const [theirs = ''] = app.sessions.cookieOf(session).split(';')
    clock.advance({ seconds: 61 })
    holding.push(get('/holds', theirs))
    await until(() => held > visitor)
    await get('/look', theirs)
  }
  await settle(app)
  await get('/look', cookie)
  await settle(app)
  t.equal((await store.read(handle))?.lastSeenAt, clock.time)
  rest.open()
  for (const { status } of await Promise.all(holding)) t.equal(status, 200)
})

/** A store whose writes are refused while `fails` says so. */
class FailingStore extends MemoryStore {
  fails: boolean | string = false
  saves = 0
  held: Promise<void> | null = null

  override async save(...args: Parameters<MemoryStore['save']>): Promise<void> {
    this.saves++
    if (this.held !== null) await this.held
    const [{ handle }] = args
    if (this.fails === true || this.fails === handle) throw new Error('IO error: the disk is gone')
    await super.save(...args)
  }
}

test('a store that fails costs no answer, and one line in the log until it works again', async (t) => {
  const clock = new TestClock()
  const store = new FailingStore()
  const lines: string[] = []
  const logger = { level: 'error', stream: { write: (line: string) => void lines.push(line) } }
  const app = await createApp(t, { store, now: clock.now, expiry }, { logger })
  const get = serve(app)
  const visitors = [await begin(app), await begin(app), await begin(app)]
  const visit = async () => {
    clock.advance({ seconds: 61 })
    for (const { cookie } of visitors) t.equal((await get('/read', cookie)).body, '1')
    passTime(SECOND)
    await settle(app)
  }
  const [first] = visitors
  if (first === undefined) throw new Error('there is a visitor')
  const last = async () => (await store.read(first.handle))?.lastSeenAt
  store.fails = true
  const began = clock.time
  await visit()
  await visit()
  t.equal(await last(), began)
  t.equal(lines.length, 1)
  t.match(JSON.parse(lines[0] ?? ''), {
    session: first.handle.slice(0, 8),
    err: { code: 'SLED_SESSION_STORE_UNAVAILABLE' }
  })
  t.notOk(lines[0]?.includes(first.handle))

  store.fails = false
  for (const { cookie } of visitors) await get('/read', cookie)
  await settle(app)
  t.equal(await last(), clock.time, 'the next visit tries again')
  store.fails = true
  await visit()
  t.equal(lines.length, 2)
  store.fails = first.handle
  await visit()
  await visit()
  t.equal(lines.length, 2, 'nor is what fails for some told each time that it works for others')
  store.fails = true
  t.equal(
    (await get('/set', first.cookie)).status,
    503,
    'what a response promises is another matter'
  )
})

test('what waits for a store that hangs is bounded, and each session is in it once', async (t) => {
  const clock = new TestClock()
  const store = new FailingStore()
  const app = await createApp(t, { store, now: clock.now, expiry })
  const get = serve(app)
  const cookies: string[] = []
  for (let visitor = 0; visitor < 400; visitor++) {
    const session = await app.sessions.create({ data: { much: 'x'.repeat(60_000) } })
    cookies.push(app.sessions.cookieOf(session).split(';')[0] ?? '')
  }
  const gate = new Gate()
  store.held = gate.opened
  store.saves = 0
  for (let round = 0; round < 3; round++) {
    clock.advance({ seconds: 61 })
    for (const cookie of cookies) t.equal((await get('/look', cookie)).status, 200)
    passTime(SECOND)
  }
  t.ok(store.saves > 0 && store.saves < 30, `one group is under way: ${store.saves}`)
  gate.open()
  store.held = null
  await settle(app)
  t.ok(store.saves > 200 && store.saves < 320, `${store.saves} of 400`)
  clock.advance({ seconds: 61 })
  store.saves = 0
  for (const cookie of cookies) await get('/look', cookie)
  await settle(app)
  for (const cookie of cookies) await get('/look', cookie)
  await settle(app)
  t.equal(store.saves, 400, 'those that found no room are stored by a later visit')
})

test('of two registrations each stores its own', async (t) => {
  const clock = new TestClock()
  const [store, second] = [new MemoryStore(), new MemoryStore()]
  const app = await createApp(t, { store, now: clock.now, expiry })
  await app.register(sledSession, {
    ...{ store: second, now: clock.now, expiry, secure: false, reapInterval: false },
    ...{ sessionName: 'account', cookie: { name: 'account' } }
  })
  const get = serve(app)
  const { accounts } = app as unknown as { accounts: FastifyInstance['sessions'] }
  const one = await begin(app)
  const session = await accounts.create({ data: { counter: 5 } })
  const other = accounts.cookieOf(session).split(';')[0]
  clock.advance({ seconds: 61 })
  await get('/look', `${one.cookie}; ${other}`)
  passTime(SECOND)
  await settle(app)
  await until(async () => (await second.read(session.handle ?? ''))?.lastSeenAt === clock.time)
  t.equal((await store.read(one.handle))?.lastSeenAt, clock.time)
  t.equal(await store.count(), 1)
})

test('a backup and an export have what was used up to now', async (t) => {
  const { app, get, clock } = await counted(t)
  const { cookie, handle } = await begin(app)
  clock.advance({ seconds: 61 })
  await get('/look', cookie)
  const folder = await temporaryFolder(t)
  await app.sessions.backup(folder)
  t.equal((await readFrom(folder, handle))?.seen, clock.time)
  clock.advance({ seconds: 61 })
  await get('/look', cookie)
  let text = ''
  for await (const piece of app.sessions.export()) text += piece
  t.match(text, new RegExp(`"lastSeenAt":"?${clock.time}|${new Date(clock.time).toISOString()}`))
  await app.close()
})

test('the reaper goes by what was used up to now', async (t) => {
  const clock = new TestClock()
  const store = new LmdbStore({ path: await temporaryFolder(t) })
  const app = await createApp(t, { store, now: clock.now, expiry })
  const get = serve(app)
  const { cookie } = await begin(app)
  clock.advance({ seconds: 30 * 60 - 20 })
  await get('/look', cookie)
  clock.advance({ seconds: 19 })
  t.equal(await app.sessions.deleteExpired(), 0)
  clock.advance({ seconds: 30 * 60 - 20 })
  t.equal((await get('/read', cookie)).body, '1')
})

test('a kill before a touch is stored leaves the session with the deadline that it had', async (t) => {
  const path = await temporaryFolder(t)
  const env = { STORAGE: path, TOUCH_INTERVAL: '1' }
  const held = startChild(t, 'test/fixtures/held-server.ts', env)
  const [, url = ''] = await held.line(/listening on (.*)/)
  const response = await fetch(`${url}/count`)
  const cookie = cookieOf(response) ?? ''
  const handle = handleOf(cookie.slice('id='.length))
  const before = await readFrom(path, handle)
  await until(() => Date.now() > (before?.seen ?? 0) + 10)
  t.equal((await fetch(`${url}/read`, { headers: { cookie } })).status, 200)
  await held.stop('SIGKILL')
  t.same(await readFrom(path, handle), before)

  const again = startChild(t, 'test/fixtures/server.ts', env)
  const [, second = ''] = await again.line(/listening on (.*)/)
  const answer = await fetch(`${second}/read`, { headers: { cookie } })
  t.match(await answer.json(), { counter: 1, principal: null })
  await until(async () => ((await readFrom(path, handle))?.seen ?? 0) > (before?.seen ?? 0) + 10)
  await again.stop('SIGTERM')
})
