import { test } from 'tap'
import type { SessionRecord } from '../../../lib/index.js'
import type { RocksWriteBatch } from '../../../lib/store/rocksdb/engine/binding.js'
import { ExpiryIndex } from '../../../lib/store/rocksdb/expiry-index.js'
import { LiveRecord } from '../../../lib/store/rocksdb/live-record.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { collectGarbage } from '../../support/garbage.js'
import { DAY, keysIn, MINUTE, openIndexedStore, times } from '../../support/indexed-store.js'
import { someHandle } from '../../support/sessions.js'

test('sessions of one turn share an entry, if their deadlines are near each other', async (t) => {
  const { db, clock, create, save, entries } = await openIndexedStore(t)
  const records = times(300, (at) =>
    create([30 * MINUTE, 30 * DAY, DAY + 50 * at][at % 3] as number)
  )
  await save(...records)
  const deadlines = new Map(records.map(({ handle, expiresAt }) => [handle, expiresAt]))
  const found = await entries()
  t.equal(found.length, 6, 'two for each of the three')
  t.same(found.flatMap(({ handles }) => handles).sort(), [...deadlines.keys()].sort())
  for (const { time, handles, sound } of found) {
    t.ok(sound && handles.length <= 64)
    for (const handle of handles) {
      const early = (deadlines.get(handle) ?? 0) - time
      t.ok(early >= 0 && early <= 10_000 && early <= (time - clock.time) / 16)
    }
  }
  t.equal((await verify(db)).problems, 0)
})

test('sessions of many deadlines, as after an import, are looked at in their own time alone', async (t) => {
  const { store, clock, db, create, save } = await openIndexedStore(t)
  for (const step of [20_000, 5]) {
    const records = times(200, (at) => create(1000 + step * at))
    await save(...records)
    const latest = Math.max(...records.map(({ expiresAt }) => expiresAt))
    let deleted = 0
    while (clock.time < latest) {
      clock.advance({ seconds: 60 })
      deleted += await store.deleteExpired()
    }
    t.equal(deleted, 200)
    t.match(await store.stats(), { reaper: { refiled: 0 } })
  }
  t.same(await keysIn(db), [])
})

test('a run reads the entries that have come due, and deletes each session at its time', async (t) => {
  const { store, clock, traffic, db, create, save } = await openIndexedStore(t)
  for (let second = 0; second < 20; second++) {
    await save(...times(50, () => create(30 * MINUTE)))
    clock.advance({ seconds: 1 })
  }
  clock.advance({ seconds: 30 * 60 - 11 })
  const { iterated } = traffic
  t.equal(await store.deleteExpired(), 500)
  t.equal(traffic.iterated - iterated, 10)
  t.equal(await store.count(), 500)
  t.equal((await verify(db)).problems, 0)
  clock.advance({ seconds: 10 })
  t.equal(await store.deleteExpired(), 500)
  t.same(await keysIn(db), [])
})

test('those of an entry that live on are filed together, under their real deadlines', async (t) => {
  const { store, clock, db, create, save, entries } = await openIndexedStore(t)
  const records = times(60, () => create(10 * MINUTE))
  await save(...records)
  clock.advance({ seconds: 9 * 60 })
  for (const record of records.slice(0, 40)) record.expiresAt = clock.time + 10 * MINUTE
  await save(...records.slice(0, 40))
  t.equal((await entries()).length, 1, 'a later deadline costs no entry')
  clock.advance({ seconds: 60 })
  t.equal(await store.deleteExpired(), 20)
  t.match(await store.stats(), { reaper: { deleted: 20, refiled: 40 } })
  t.match(await entries(), [{ time: clock.time + 9 * MINUTE, handles: { length: 40 } }])
  t.equal((await verify(db)).problems, 0)
  clock.advance({ seconds: 9 * 60 })
  t.equal(await store.deleteExpired(), 40)
  t.same(await keysIn(db), [])
})

test('logins and logouts in a loop leave nothing behind, one per turn or many', async (t) => {
  const { store, db, create, save } = await openIndexedStore(t)
  for (const [rounds, atOnce] of [
    [400, 1],
    [200, 100]
  ] as const) {
    for (let round = 0; round < rounds; round++) {
      const records = times(atOnce, () => create(30 * DAY))
      await save(...records)
      await Promise.all(records.map((record) => store.destroy(record)))
    }
  }
  await store.read(someHandle())
  t.same(await keysIn(db), [])
})

test('ended sessions beside one that lives on leave their handles, and no more', async (t) => {
  const { store, clock, db, create, save, entries } = await openIndexedStore(t)
  const [first, ...others] = times(50, () => create(30 * DAY)) as [SessionRecord]
  await save(first, ...others)
  await Promise.all(others.map((record) => store.destroy(record)))
  t.match(await entries(), [{ handles: { length: 50 } }])
  t.same(await verify(db), { ...(await verify(db)), problems: 0, records: 1, expiryEntries: 1 })
  clock.advance({ seconds: 30 * 86_400 })
  t.equal(await store.deleteExpired(), 1)
  t.same(await keysIn(db), [])
})

test('a shorter deadline moves a session out of its entry', async (t) => {
  const { store, clock, db, create, save } = await openIndexedStore(t)
  const records = times(10, () => create(DAY))
  await save(...records)
  const [shortened] = records as [SessionRecord]
  shortened.expiresAt = clock.time + MINUTE
  await save(shortened)
  t.equal((await verify(db)).problems, 0)
  clock.advance({ seconds: 30 })
  shortened.expiresAt += DAY
  await save(shortened)
  clock.advance({ seconds: 30 })
  t.equal(await store.deleteExpired(), 0)
  clock.advance({ seconds: 86_400 - 60 })
  t.equal(await store.deleteExpired(), 9)
  t.match(await store.stats(), { reaper: { refiled: 1 } }, 'once for each entry it was filed in')
  clock.advance({ seconds: 60 })
  t.equal(await store.deleteExpired(), 1)
  t.same(await keysIn(db), [])
})

test('a session that is replaced stays where it is filed, or goes where it must be', async (t) => {
  const { store, clock, db, create, save, entries } = await openIndexedStore(t)
  const records = times(20, () => create(DAY))
  await save(...records)
  const copies = records.map((record, at) => {
    const copy = record.copy()
    copy.expiresAt += at < 10 ? DAY : MINUTE - DAY
    return copy
  })
  await store.putRecords(copies)
  t.match(await entries(), [{ handles: { length: 10 } }, { handles: { length: 20 } }])
  t.equal((await verify(db)).problems, 0)
  for (const [seconds, deleted] of [
    [60, 10],
    [86_400, 0],
    [86_400, 10]
  ] as const) {
    clock.advance({ seconds })
    t.equal(await store.deleteExpired(), deleted)
  }
  t.same(await keysIn(db), [])
})

test('a clock that is set back: who lives on is filed again, and goes in the end', async (t) => {
  const { store, clock, db, create, save } = await openIndexedStore(t)
  await save(...times(100, () => create(MINUTE)))
  clock.advance({ seconds: 60 })
  const deleting = store.deleteExpired()
  clock.advance({ seconds: -3600 })
  await save(...times(100, () => create(MINUTE)))
  t.equal(await deleting, 0)
  t.equal(await store.count(), 200)
  t.equal((await verify(db)).problems, 0)
  clock.advance({ seconds: 60 })
  t.equal(await store.deleteExpired(), 100)
  clock.advance({ seconds: 3600 })
  t.equal(await store.deleteExpired(), 100)
  t.same(await keysIn(db), [])
})

test('what is remembered of entries keeps no memory of others', async (t) => {
  const index = new ExpiryIndex(() => 0)
  const batch = { tryPut() {}, tryDelete() {} } as unknown as RocksWriteBatch
  const bytesTaken = (): number => {
    collectGarbage()
    return process.memoryUsage().arrayBuffers
  }
  const handles: string[] = []
  const before = bytesTaken()
  for (let group = 0; group < 2000; group++) {
    for (let at = 0; at < 2; at++) {
      const handle = someHandle()
      handles.push(handle)
      const start = { handle, createdAt: 0, lastSeenAt: 0, expiresAt: MINUTE }
      index.file(new LiveRecord(start))
    }
    index.writeTo(batch)
    // Other small pieces of memory come from the same pool.
    Buffer.allocUnsafe(4000)
  }
  // V8 gives it back in the background. With a pool for every second one it would be 8 MB.
  let taken = bytesTaken() - before
  for (let tries = 0; tries < 20 && taken > 4_000_000; tries++) {
    await new Promise(setImmediate)
    taken = bytesTaken() - before
  }
  t.ok(taken < 4_000_000, `${taken} bytes`)
  t.equal(handles.filter((handle) => index.ended(handle) !== null).length, 2000, 'it still knows')
})
