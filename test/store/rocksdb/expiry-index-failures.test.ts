import { test } from 'tap'
import type { SessionRecord } from '../../../lib/index.js'
import { borrowDatabase } from '../../../lib/store/rocksdb/engine/database.js'
import type { LiveRecord } from '../../../lib/store/rocksdb/live-record.js'
import { RocksDBStore } from '../../../lib/store/rocksdb/rocksdb-store.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { until } from '../../../scripts/servers/until.js'
import { TestClock, temporaryFolder } from '../../support/app.js'
import { Gate } from '../../support/gate.js'
import { DAY, keysIn, MINUTE, openIndexedStore, times } from '../../support/indexed-store.js'
import { TEST_LOG } from '../../support/migration.js'
import { openApplicationDatabase } from '../../support/rocksdb.js'
import { someHandle } from '../../support/sessions.js'

test('a session that is given up while the reaper files it is looked at again by the next run', async (t) => {
  for (const count of [1, 2]) {
    for (const act of ['live on', 'expire', 'log out'] as const) {
      const { store, clock, traffic, db, create, save } = await openIndexedStore(t)
      const records = times(count, () => create(MINUTE))
      await save(...records)
      clock.advance({ seconds: 60 })
      if (act === 'live on') for (const record of records) record.expiresAt += MINUTE
      const disk = new Gate()
      traffic.held = { what: 'write', until: disk.opened }
      const { writes } = traffic
      const other = save(create(DAY))
      await until(() => traffic.writes > writes)
      if (act === 'log out') for (const record of records) void store.destroy(record)
      const reaping = store.deleteExpired()
      await new Promise((resolve) => setTimeout(resolve, 20))
      const [one] = records as [SessionRecord]
      t.ok((one as LiveRecord).queued, 'it waits for the disk')
      // As the guard does with what waits too long.
      one.failure = new Error('given up')
      disk.open()
      traffic.held = null
      const [, deleted] = await Promise.all([other, reaping])
      t.equal(deleted, act === 'expire' ? count - 1 : 0)
      t.match(await verify(db), { problems: 0, expiryEntries: act === 'live on' ? count + 1 : 2 })
      clock.advance({ seconds: 60 })
      await store.deleteExpired()
      t.equal(await store.count(), 1, `${count}, ${act}`)
      t.same((await keysIn(db)).sort(), ['expiry', 'record'])
    }
  }
})

test('what a group was to remove stays when that group fails before it is written', async (t) => {
  const { store, clock, db, create, save, traffic } = await openIndexedStore(t)
  const record = create(MINUTE)
  await save(record)
  clock.advance({ seconds: 60 })
  record.expiresAt += MINUTE
  let failures = 1
  traffic.failing = (what) => what === 'begin' && failures-- > 0
  await t.rejects(store.deleteExpired())
  await save(create(DAY))
  t.equal((await verify(db)).problems, 0)
  t.equal(await store.deleteExpired(), 1, 'it is as it was stored')
})

test('a session that cannot be filed fails its own group, and none that follows', async (t) => {
  const { db, create, save } = await openIndexedStore(t)
  await t.rejects(save(create(Number.POSITIVE_INFINITY)), {
    code: 'SLED_SESSION_STORE_UNAVAILABLE'
  })
  await save(create(DAY))
  t.match(await verify(db), { problems: 0, records: 1 })
})

test('a session whose sync failed behind the back of a run is found by the next', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const connection = await borrowDatabase(db, 'session')
  const { currentWalFile } = connection.db
  const store = new RocksDBStore({
    connect: async () => connection,
    cacheBytes: 1 << 20,
    durability: 'power'
  })
  const clock = new TestClock()
  await store.open({ now: clock.now, log: TEST_LOG })
  t.teardown(async () => {
    await store.close()
    await db.close()
  })
  const { time } = clock
  const start = { createdAt: time, lastSeenAt: time, expiresAt: time + MINUTE }
  const disk = new Gate()
  traffic.held = { what: 'write', until: disk.opened }
  const { writes } = traffic
  const saving = store.save(store.create({ ...start, handle: someHandle() }), null)
  await until(() => traffic.writes > writes)
  clock.advance({ seconds: 60 })
  t.equal(await store.deleteExpired(), 0)
  connection.db.currentWalFile = () => Promise.reject(new Error('IO error: input/output error'))
  disk.open()
  await t.rejects(saving, { code: 'SLED_SESSION_STORE_UNAVAILABLE' })
  connection.db.currentWalFile = currentWalFile
  t.equal(await store.count(), 1, 'it may have been written')
  t.equal(await store.deleteExpired(), 1)
})

test('a session whose touch is given up while the reaper files it is found in time', async (t) => {
  const { store, clock, traffic, db, create, save } = await openIndexedStore(t)
  const record = create(MINUTE)
  await save(record)
  clock.advance({ seconds: 60 })
  record.expiresAt += MINUTE
  const disk = new Gate()
  traffic.held = { what: 'write', until: disk.opened }
  const { writes } = traffic
  const other = save(create(DAY))
  await until(() => traffic.writes > writes)
  let isGivenUp = false
  const touching = store.touch(record, () => !isGivenUp)
  const reaping = store.deleteExpired()
  await new Promise((resolve) => setTimeout(resolve, 20))
  isGivenUp = true
  disk.open()
  traffic.held = null
  await Promise.all([other, touching, reaping])
  t.equal((await verify(db)).problems, 0)
  clock.advance({ seconds: 60 })
  t.equal(await store.deleteExpired(), 1)
})
