import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { onInactivity } from '../../../lib/index.js'
import { expiryKey } from '../../../lib/store/format/keys.js'
import type { RocksDatabase } from '../../../lib/store/rocksdb/engine/binding.js'
import { LiveRecord } from '../../../lib/store/rocksdb/live-record.js'
import { Reaper } from '../../../lib/store/rocksdb/reaper.js'
import { until } from '../../../scripts/servers/until.js'
import {
  addCounter,
  cookieOf,
  createApp,
  listen,
  TestClock,
  temporaryFolder
} from '../../support/app.js'
import {
  countKind,
  openApplicationDatabase,
  putRaw,
  readDatabase,
  withDatabase
} from '../../support/rocksdb.js'

const expiry = onInactivity({ seconds: 10 })

test('expired sessions are deleted, record and index entry, and living ones are not', async (t) => {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path, now: clock.now, expiry })
  addCounter(app)
  const url = await listen(app)
  for (let index = 0; index < 300; index++) await (await fetch(url)).text()
  clock.advance({ seconds: 5 })
  const cookie = cookieOf(await fetch(url)) ?? ''

  t.equal(await app.sessions.deleteExpired(), 0)
  clock.advance({ seconds: 5 })
  t.equal(await app.sessions.deleteExpired(), 300)
  t.equal(await app.sessions.deleteExpired(), 0)
  t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'Current count: 1')
  await app.close()

  const entries = await readDatabase(path)
  t.equal(countKind(entries, 1), 1)
  t.equal(countKind(entries, 2), 1)
})

test('a touch leaves its index entry; the reaper files it anew and deletes it in time', async (t) => {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path, now: clock.now, expiry })
  addCounter(app)
  app.get('/reads', async () => 'hello')
  const url = await listen(app)
  const start = clock.time
  const cookie = cookieOf(await fetch(url)) ?? ''
  clock.advance({ seconds: 6 })
  await fetch(`${url}/reads`, { headers: { cookie } })
  await fetch(url, { headers: { cookie } })

  clock.advance({ seconds: 4 })
  t.equal(await app.sessions.deleteExpired(), 0, 'its first deadline passes')
  t.equal(await app.sessions.count(), 1)
  await app.close()
  const [entry] = (await readDatabase(path)).filter(([key]) => key[0] === 2)
  t.equal(entry?.[0].readBigUInt64BE(1), BigInt(start + 16_000), 'filed under its real deadline')

  const again = await createApp(t, { path, now: clock.now, expiry })
  clock.advance({ milliseconds: 5999 })
  t.equal(await again.sessions.deleteExpired(), 0)
  clock.advance({ milliseconds: 1 })
  t.equal(await again.sessions.deleteExpired(), 1)
  await again.close()
  t.equal((await readDatabase(path)).length, 1, 'the meta record alone is left')
})

test('a shortened expiry is found on time', async (t) => {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path, now: clock.now, expiry })
  addCounter(app)
  app.get('/shorten', async (request) => {
    request.session.expiry = onInactivity({ seconds: 2 })
    return 'shorter'
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  await fetch(`${url}/shorten`, { headers: { cookie } })
  clock.advance({ seconds: 2 })
  t.equal(await app.sessions.deleteExpired(), 1)
  await app.close()
  t.equal((await readDatabase(path)).length, 1)
})

test('a session that is used while it is past its time is a fresh one, reaped or not', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { now: clock.now, expiry })
  addCounter(app)
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  clock.advance({ seconds: 10 })
  t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'Current count: 0')
  t.equal(await app.sessions.deleteExpired(), 1)
  t.equal(await app.sessions.count(), 1)
})

test('a request that is under way when its session is reaped does not bring it back', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { now: clock.now, expiry })
  addCounter(app)
  app.get('/slow', async (request) => {
    clock.advance({ seconds: 11 })
    await app.sessions.deleteExpired()
    request.session.set('counter', 99)
    return 'slow'
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const response = await fetch(`${url}/slow`, { headers: { cookie } })
  t.equal(response.status, 200)
  t.same(response.headers.getSetCookie(), [])
  t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'Current count: 0')
})

test('the reaper reads only what has come due', async (t) => {
  const clock = new TestClock()
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  t.teardown(() => db.close())
  const app = await createApp(t, { db, now: clock.now, expiry })
  addCounter(app)
  const url = await listen(app)
  for (let index = 0; index < 10; index++) await (await fetch(url)).text()
  clock.advance({ seconds: 5 })
  for (let index = 0; index < 50; index++) await (await fetch(url)).text()
  clock.advance({ seconds: 5 })

  const before = traffic.iterated
  t.equal(await app.sessions.deleteExpired(), 10)
  t.equal(traffic.iterated - before, 10)
  await app.close()
})

test('more than a batch is reaped in one call, and index entries without a record go too', async (t) => {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  await (await createApp(t, { path })).close()
  await withDatabase(path, async (db) => {
    for (let index = 0; index < 400; index++) {
      const handle = randomBytes(32).toString('base64url')
      await putRaw(db, expiryKey(clock.time - index, handle), Buffer.alloc(0))
    }
  })
  const app = await createApp(t, { path, now: clock.now, expiry })
  t.equal(await app.sessions.deleteExpired(), 0, 'they were no sessions')
  await app.close()
  t.equal((await readDatabase(path)).length, 1)
})

test('calls at the same time share one run', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { now: clock.now, expiry })
  addCounter(app)
  await fetch(await listen(app))
  clock.advance({ seconds: 10 })
  t.same(await Promise.all([app.sessions.deleteExpired(), app.sessions.deleteExpired()]), [1, 1])
})

test('the reaper runs by itself every reapInterval and does not keep the process alive', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { now: clock.now, expiry, reapInterval: 5 })
  addCounter(app)
  await fetch(await listen(app))
  t.equal(await app.sessions.count(), 1)
  clock.advance({ seconds: 10 })
  await until(async () => (await app.sessions.count()) === 0)
  t.pass('the expired session is gone')
})

test('closing during a run stops it after its batch and leaves the rest for the next', async (t) => {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path, now: clock.now, expiry })
  addCounter(app)
  await app.ready()
  for (let index = 0; index < 1000; index++) await app.inject('/')
  clock.advance({ seconds: 10 })
  const run = app.sessions.deleteExpired()
  await app.close()
  const deleted = await run
  t.ok(deleted < 1000, `${deleted} of 1,000 were deleted`)

  const again = await createApp(t, { path, now: clock.now, expiry })
  t.equal(await again.sessions.deleteExpired(), 1000 - deleted)
})

test('deadlines may have fractions of a millisecond', async (t) => {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path, now: () => clock.time + 0.25, expiry })
  addCounter(app)
  await fetch(await listen(app))
  clock.advance({ seconds: 10 })
  t.equal(await app.sessions.deleteExpired(), 0, 'it is filed under the next whole one')
  clock.advance({ milliseconds: 1 })
  t.equal(await app.sessions.deleteExpired(), 1)
  await app.close()
  t.equal((await readDatabase(path)).length, 1)
})

test('a run reports its progress to all who wait for it, and an error is theirs alone', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { now: clock.now, expiry })
  addCounter(app)
  await app.ready()
  for (let index = 0; index < 300; index++) await app.inject('/')
  clock.advance({ seconds: 10 })
  const heard: number[] = []
  const second: number[] = []
  const runs = await Promise.allSettled([
    app.sessions.deleteExpired({ onProgress: (deleted) => heard.push(deleted) }),
    app.sessions.deleteExpired({ onProgress: (deleted) => second.push(deleted) }),
    app.sessions.deleteExpired({
      onProgress: () => {
        throw new Error('mine')
      }
    })
  ])
  t.same(heard, [128, 256, 300])
  t.same(second, heard)
  t.match(runs, [{ value: 300 }, { value: 300 }, { reason: { message: 'mine' } }])
})

test('each run that deletes something is one line in the log', async (t) => {
  const clock = new TestClock()
  const lines: Record<string, unknown>[] = []
  const stream = { write: (line: string) => lines.push(JSON.parse(line)) }
  const app = await createApp(t, { now: clock.now, expiry }, { logger: { level: 'info', stream } })
  addCounter(app)
  await app.inject('/')
  await app.sessions.deleteExpired()
  clock.advance({ seconds: 10 })
  await app.sessions.deleteExpired()
  const found = lines.filter(({ msg }) => msg === 'expired sessions were deleted')
  t.equal(found.length, 1)
  t.match(found[0], { deleted: 1, milliseconds: Number })
})

const silent = { debug() {}, info() {}, warn() {}, error() {} }

test('while visitors write, batches get smaller', async (t) => {
  const limits: number[] = []
  let due = 400
  let writes = 0
  const key = expiryKey(1, randomBytes(32).toString('base64url'))
  const entry = { key, value: Buffer.alloc(0) }
  const iterator = async function* (_: object, { limit }: { limit: number }) {
    limits.push(limit)
    for (let given = 0; given < limit && due > 0; given++, due--) yield entry
  }
  const reaper = new Reaper({
    db: { iterator } as unknown as RocksDatabase,
    now: () => 2,
    log: silent,
    noteDamage: () => {},
    writes: () => writes,
    find: async () => null,
    expire: async () => {},
    refile: async () => {},
    settled: async () => {},
    removeEntry: async () => {
      writes++
      // Beside the first 200 there is a visitor's write for each of the reaper's.
      if (due > 200) writes++
    }
  })
  t.equal(await reaper.run(), 0)
  t.same(limits, [128, 64, 64, 128, 128])
})

test('what deletions leave behind is compacted in the background', async (t) => {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  await (await createApp(t, { path })).close()
  await withDatabase(path, async (db) => {
    const batch = db.write({ autoDestroy: true })
    for (let index = 0; index < 25_000; index++) {
      batch.tryPut(expiryKey(clock.time, randomBytes(32).toString('base64url')), Buffer.alloc(0))
    }
    await batch.flush()
  })
  const deletions = () =>
    withDatabase(path, async (db) => {
      const text = await db.getProperty('rocksdb.aggregated-table-properties')
      return Number(/# deletions=(\d+)/.exec(text ?? '')?.[1])
    })
  const first = await createApp(t, { path, now: clock.now, expiry })
  await first.sessions.deleteExpired()
  await first.close()
  t.equal(await deletions(), 25_000, 'opening writes them to a file')

  const second = await createApp(t, { path, now: clock.now, expiry })
  await second.sessions.deleteExpired()
  await second.sessions.deleteExpired()
  await second.close()
  t.ok((await deletions()) < 25_000)
})

test('a session that is written all the time is left to the next run, and so is its entry', async (t) => {
  const handle = randomBytes(32).toString('base64url')
  const record = new LiveRecord({ handle, createdAt: 0, lastSeenAt: 0, expiresAt: 1 })
  record.indexedAt = 1
  record.writing = 1
  const done: string[] = []
  const iterator = async function* () {
    yield { key: expiryKey(1, handle), value: Buffer.alloc(0) }
  }
  const reaper = new Reaper({
    db: { iterator } as unknown as RocksDatabase,
    now: () => 2,
    log: silent,
    noteDamage: () => {},
    writes: () => 0,
    find: async () => record,
    expire: async () => void done.push('expire'),
    refile: async () => void done.push('refile'),
    settled: async () => void done.push('settled'),
    removeEntry: async () => void done.push('remove')
  })
  t.equal(await reaper.run(), 0)
  t.same(done.splice(0), ['settled'])
  record.writing = 0
  t.equal(await reaper.run(), 1)
  t.same(done, ['expire', 'remove'])
})
