import { test } from 'tap'
import { MemoryStore, onInactivity, SessionRecord } from '../../lib/index.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import { recordKey } from '../../lib/store/format/keys.js'
import { openDatabase } from '../../lib/store/rocksdb/engine/database.js'
import { RocksDBStore } from '../../lib/store/rocksdb/rocksdb-store.js'
import {
  addCounter,
  cookieOf,
  createApp,
  listen,
  TestClock,
  temporaryFolder
} from '../support/app.js'
import { openApplicationDatabase, putRaw, withDatabase } from '../support/rocksdb.js'

const MIB = 1024 * 1024

test('stats tell of sessions, files, cache, writes and the engine', async (t) => {
  const clock = new TestClock()
  const expiry = onInactivity({ seconds: 10 })
  const app = await createApp(t, { now: clock.now, expiry, touchInterval: 9999, memory: 6 * MIB })
  addCounter(app)
  app.get('/look', async () => 'nothing is set')
  const url = await listen(app)
  const fresh = await app.sessions.stats()
  t.match(fresh, {
    store: 'rocksdb',
    sessions: 0,
    cache: { records: 0, bytes: 0, limit: 4 * MIB, hits: 0, misses: 0 },
    writes: { sessions: 0, groups: 0, largestGroup: 0 },
    reaper: { deleted: 0, refiled: 0 },
    quarantined: 0
  })

  const cookie = cookieOf(await fetch(url)) ?? ''
  await fetch(url)
  await fetch(url)
  clock.advance({ seconds: 6 })
  await fetch(`${url}/look`, { headers: { cookie } })
  clock.advance({ seconds: 6 })
  await app.sessions.deleteExpired()
  const after = await app.sessions.stats()
  t.match(after, {
    sessions: 1,
    cache: { records: 1, hits: 1, misses: 0 },
    reaper: { deleted: 2, refiled: 1 }
  })
  t.equal(after.writes?.sessions, 6, 'three visits, two deletions, one entry filed anew')
  t.ok((after.writes?.largestGroup ?? 0) >= 2, 'the reaper writes a batch at a time')
  t.ok((after.writes?.groups ?? 0) < 6)
  t.ok((after.cache?.bytes ?? 0) > 0)
  t.ok((after.diskBytes ?? 0) > 100)
  t.ok((after.engine['rocksdb.estimate-num-keys'] ?? 0) >= 3)
  t.notOk(after.engine['rocksdb.block-cache-capacity'], 'live records are the only cache')
  t.ok(Object.values(after.engine).every(Number.isFinite))
})

test('the number of sessions is exact while there are few, and an estimate beyond', async (t) => {
  const path = await temporaryFolder(t)
  const store = new RocksDBStore({
    connect: () => openDatabase(path, 'session', MIB),
    cacheBytes: MIB
  })
  const silent = { debug() {}, info() {}, warn() {}, error() {} }
  await store.open({ now: Date.now, log: silent })
  t.teardown(() => store.close())
  const add = (count: number) =>
    store.putRecords(
      Array.from({ length: count }, () => {
        const now = Date.now()
        const record = new SessionRecord({
          handle: handleOf(createSessionId()),
          createdAt: now,
          lastSeenAt: now,
          expiresAt: now + 60_000
        })
        record.principal = 'ann'
        return record
      })
    )
  await add(255)
  t.equal((await store.stats()).sessions, 255)
  await add(4745)
  const { sessions } = await store.stats()
  // Seven standard errors: fails by chance less than once in ten thousand million runs.
  t.ok(Math.abs((sessions ?? 0) - 5000) < 7 * 0.063 * 5000, `estimated ${sessions} of 5000`)
})

test('quarantined records are counted', async (t) => {
  const path = await temporaryFolder(t)
  const handle = handleOf(createSessionId())
  await (await createApp(t, { path })).close()
  await withDatabase(path, (db) => putRaw(db, recordKey(handle), Buffer.alloc(99)))
  const app = await createApp(t, { path })
  t.equal(await app.sessions.get(handle), null)
  t.equal((await app.sessions.stats()).quarantined, 1)
})

test('other stores tell what they have', async (t) => {
  const memory = await createApp(t, { store: new MemoryStore() })
  addCounter(memory)
  await fetch(await listen(memory))
  t.match(await memory.sessions.stats(), { store: 'memory', sessions: 1, diskBytes: null })

  const store: { stats?: unknown } & MemoryStore = new MemoryStore()
  Object.defineProperty(store, 'stats', { value: undefined })
  const silent = await createApp(t, { store })
  t.match(await silent.sessions.stats(), { store: 'other', sessions: null, cache: null })
})

test('a store that fails fails its statistics too', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const app = await createApp(t, { db })
  traffic.failing = 'iterator'
  await t.rejects(app.sessions.stats(), { code: 'SLED_SESSION_STORE_UNAVAILABLE' })
  await app.close()
  await db.close()
})
