import { randomInt } from 'node:crypto'
import { type Test, test } from 'tap'
import type { SessionRecord } from '../../../lib/index.js'
import { kindOf } from '../../../lib/store/format/keys.js'
import type { RocksDatabase } from '../../../lib/store/rocksdb/engine/binding.js'
import { borrowDatabase } from '../../../lib/store/rocksdb/engine/database.js'
import {
  type ExpiryEntry,
  readExpiryEntry
} from '../../../lib/store/rocksdb/format/expiry-entry.js'
import { RocksDBStore } from '../../../lib/store/rocksdb/rocksdb-store.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { until } from '../../../scripts/servers/until.js'
import { TestClock, temporaryFolder } from '../../support/app.js'
import { Gate } from '../../support/gate.js'
import { openApplicationDatabase, putRaw, type Traffic } from '../../support/rocksdb.js'
import { someHandle } from '../../support/sessions.js'

const MINUTE = 60_000
const DAY = 86_400_000

interface Opened {
  readonly store: RocksDBStore
  readonly clock: TestClock
  readonly traffic: Traffic
  /** The column family, past the store. */
  readonly db: RocksDatabase
  readonly errors: string[]
  /** A session that is not stored yet. */
  create(lifetime: number): SessionRecord
  /** Stores them in one turn. */
  save(...records: SessionRecord[]): Promise<unknown>
  entries(): Promise<ExpiryEntry[]>
  close(): Promise<void>
}

async function open(t: Test, path?: string): Promise<Opened> {
  const { db, traffic } = await openApplicationDatabase(path ?? (await temporaryFolder(t)))
  const clock = new TestClock()
  const errors: string[] = []
  const error = (_: object, message: string): void => void errors.push(message)
  const store = new RocksDBStore({
    connect: () => borrowDatabase(db, 'session'),
    cacheBytes: 8 * 1024 * 1024
  })
  await store.open({ now: clock.now, log: { debug() {}, info() {}, warn() {}, error } })
  const family = db.columnFamily('session')
  let closing: Promise<void> | null = null
  const close = async (): Promise<void> => {
    await store.close()
    await family.close()
    await db.close()
  }
  t.teardown(() => (closing ??= close()))
  return {
    store,
    clock,
    traffic,
    db: family,
    errors,
    close: () => (closing ??= close()),
    create(lifetime) {
      const { time } = clock
      const start = { createdAt: time, lastSeenAt: time, expiresAt: time + lifetime }
      return store.create({ handle: someHandle(), ...start })
    },
    save: (...records) => Promise.all(records.map((record) => store.save(record, null))),
    async entries() {
      const found: ExpiryEntry[] = []
      for await (const { key, value } of family.iterator({})) {
        if (kindOf(key).startsWith('expiry')) found.push(readExpiryEntry(key, value))
      }
      return found
    }
  }
}

function times<T>(count: number, make: (at: number) => T): T[] {
  return Array.from({ length: count }, (_, at) => make(at))
}

/** All keys but the one that names the format. */
async function keysIn(db: RocksDatabase): Promise<string[]> {
  const kinds: string[] = []
  for await (const { key } of db.iterator({})) kinds.push(kindOf(key))
  return kinds.filter((kind) => kind !== 'meta')
}

test('sessions of one turn share an entry, if their deadlines are near each other', async (t) => {
  const { db, clock, create, save, entries } = await open(t)
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
  const { store, clock, db, create, save } = await open(t)
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
  const { store, clock, traffic, db, create, save } = await open(t)
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
  const { store, clock, db, create, save, entries } = await open(t)
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
  const { store, db, create, save } = await open(t)
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
  const { store, clock, db, create, save, entries } = await open(t)
  const [first, ...others] = times(50, () => create(30 * DAY)) as [SessionRecord]
  await save(first, ...others)
  await Promise.all(others.map((record) => store.destroy(record)))
  t.match(await entries(), [{ handles: { length: 50 } }])
  t.same(await verify(db), { ...(await verify(db)), problems: 0, records: 1, expiryEntries: 1 })
  clock.advance({ seconds: 30 * 86_400 })
  t.equal(await store.deleteExpired(), 1)
  t.same(await keysIn(db), [])
})

test('an entry stays while a session is in it whose end has failed', async (t) => {
  const { store, clock, traffic, db, create, save } = await open(t)
  const [one, other] = [create(MINUTE), create(MINUTE)]
  await save(one, other)
  traffic.failing = 'write'
  await t.rejects(store.destroy(one), { code: 'SLED_SESSION_STORE_UNAVAILABLE' })
  traffic.failing = null
  await store.destroy(other)
  await store.read(one.handle)
  t.equal((await verify(db)).problems, 0)
  clock.advance({ seconds: 60 })
  t.equal(await store.deleteExpired(), 1)
  t.same(await keysIn(db), [])
})

test('a shorter deadline moves a session out of its entry', async (t) => {
  const { store, clock, db, create, save } = await open(t)
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
  const { store, clock, db, create, save, entries } = await open(t)
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

test('what replaces a session whose write fails is filed, and in the list of its user', async (t) => {
  const { store, clock, traffic, db, create, save } = await open(t)
  const [record] = [create(DAY)]
  await save(record)
  record.expiresAt = clock.time + MINUTE
  record.principal = 'ann'
  const disk = new Gate()
  traffic.held = { what: 'write', until: disk.opened }
  let failures = 1
  traffic.failing = (what) => what === 'write' && failures-- > 0
  const { writes } = traffic
  const failing = save(record)
  await until(() => traffic.writes > writes)
  const replacing = store.putRecords([record.copy()])
  disk.open()
  await t.rejects(failing)
  await replacing
  traffic.failing = null
  t.match(await verify(db), { kinds: { 'missing-expiry-entry': 0, 'missing-principal-entry': 0 } })
  clock.advance({ seconds: 60 })
  t.equal(await store.deleteExpired(), 1)
})

test('what replaces a session that is being ended is filed anew', async (t) => {
  const { store, clock, traffic, db, create, save } = await open(t)
  const [alone, one, other] = [create(DAY), create(DAY), create(DAY)]
  await save(alone)
  await save(one, other)
  const disk = new Gate()
  traffic.held = { what: 'write', until: disk.opened }
  const { writes } = traffic
  const ending = Promise.all([alone, one].map((record) => store.destroy(record)))
  await until(() => traffic.writes > writes)
  const replacing = store.putRecords([alone.copy(), one.copy()])
  disk.open()
  await Promise.all([ending, replacing])
  t.equal((await verify(db)).problems, 0)
  clock.advance({ seconds: 86_400 })
  t.equal(await store.deleteExpired(), 3)
  t.same(await keysIn(db), [])
})

test('what is about to replace a session of an entry that has come due stays filed', async (t) => {
  const { store, clock, traffic, db, create, save } = await open(t)
  const [one, other] = [create(MINUTE), create(MINUTE)]
  await save(one, other)
  clock.advance({ seconds: 60 })
  const disk = new Gate()
  traffic.held = { what: 'write', until: disk.opened }
  const { writes } = traffic
  const before = save(create(MINUTE))
  await until(() => traffic.writes > writes)
  const copy = one.copy()
  copy.expiresAt += MINUTE
  const replacing = store.putRecords([copy])
  await new Promise(setImmediate)
  const reaping = store.deleteExpired()
  await new Promise((resolve) => setTimeout(resolve, 20))
  disk.open()
  await Promise.all([before, replacing, reaping])
  t.equal((await verify(db)).problems, 0)
  t.equal(await store.count(), 2)
  clock.advance({ seconds: 60 })
  t.equal(await store.deleteExpired(), 2)
  t.same(await keysIn(db), [])
})

test('a session whose write fails while the reaper reads its neighbours is read again', async (t) => {
  const path = await temporaryFolder(t)
  const before = await open(t, path)
  const records = times(2, () => before.create(MINUTE))
  await before.save(...records)
  await before.close()
  const { store, clock, traffic, db, save } = await open(t, path)
  const [known, unknown] = records.map(({ handle }) => handle) as [string, string]
  const record = (await store.loadByHandle(known)) as SessionRecord
  clock.advance({ seconds: 60 })
  const disk = new Gate()
  traffic.held = { what: 'read', until: disk.opened }
  const { reads } = traffic
  const reaping = store.deleteExpired()
  await until(() => traffic.reads > reads)
  traffic.failing = 'write'
  record.expiresAt += DAY
  await t.rejects(save(record))
  traffic.failing = null
  disk.open()
  t.equal(await reaping, 2)
  t.equal(await store.read(unknown), null)
  t.same(await keysIn(db), [])
})

test('a clock that is set back: who lives on is filed again, and goes in the end', async (t) => {
  const { store, clock, db, create, save } = await open(t)
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

test('what visitors do while the reaper works on their entry holds, and so does what fails', async (t) => {
  for (const failing of [false, true]) {
    const { store, clock, traffic, db, create, save } = await open(t)
    const records = times(6, () => create(MINUTE))
    const [touched, shortened, ended, renewed, replaced] = records as [
      SessionRecord,
      SessionRecord,
      SessionRecord,
      SessionRecord,
      SessionRecord
    ]
    await save(...records)
    clock.advance({ seconds: 59 })
    const disk = new Gate()
    traffic.held = { what: 'write', until: disk.opened }
    let failures = failing ? 1 : 0
    traffic.failing = (what) => what === 'write' && failures-- > 0
    touched.expiresAt += DAY
    shortened.expiresAt -= MINUTE / 2
    const fresh = create(DAY)
    const copy = replaced.copy()
    copy.expiresAt += DAY
    const { writes } = traffic
    const visits = [
      save(touched, shortened),
      store.destroy(ended),
      store.replace(renewed, fresh),
      store.putRecords([copy])
    ]
    await until(() => traffic.writes > writes)
    clock.advance({ seconds: 1 })
    const reaping = store.deleteExpired()
    await new Promise((resolve) => setTimeout(resolve, 20))
    disk.open()
    traffic.held = null
    const outcomes = await Promise.allSettled(visits)
    t.equal(outcomes.filter(({ status }) => status === 'rejected').length > 0, failing)
    await reaping
    traffic.failing = null
    // What was filed behind the back of that run is for the next.
    await store.deleteExpired()
    const left = (await Promise.all(records.map(({ handle }) => store.read(handle)))).map(Boolean)
    t.same(left, failing ? times(6, () => false) : [true, false, false, false, true, false])
    t.equal((await store.read(fresh.handle)) === null, failing)
    t.equal((await verify(db)).problems, 0)
    clock.advance({ seconds: 2 * 86_400 })
    await store.deleteExpired()
    t.same(await keysIn(db), [])
  }
})

test('whatever is done at once, and whatever fails: each session is filed, and goes in time', async (t) => {
  const { store, clock, traffic, db, create, save } = await open(t)
  let alive: SessionRecord[] = []
  const some = (): SessionRecord | undefined => alive[randomInt(Math.max(1, alive.length))]
  const lifetime = (): number => [1000, 5000, 5100, 60_000][randomInt(4)] as number
  const acts: (() => Promise<unknown>)[] = [
    async () => {
      const made = times(1 + randomInt(5), () => create(lifetime()))
      alive.push(...made)
      await save(...made)
    },
    async () => {
      const record = some()
      if (record !== undefined) await store.destroy(record)
    },
    async () => {
      const record = some()
      if (record === undefined) return
      record.expiresAt = clock.time + lifetime()
      record.principal = randomInt(2) === 0 ? 'ann' : null
      await save(record)
    },
    async () => {
      const [old, fresh] = [some(), create(lifetime())]
      if (old === undefined || old.destroyed) return
      alive.push(fresh)
      await store.replace(old, fresh)
    },
    async () => {
      const copies = times(randomInt(3), () => some()?.copy()).filter((copy) => copy !== undefined)
      for (const copy of copies) copy.expiresAt = clock.time + lifetime()
      await store.putRecords(copies)
    },
    () => store.deleteExpired(),
    async () => clock.advance({ milliseconds: randomInt(-300, 1500) })
  ]
  for (let round = 0; round < 300; round++) {
    traffic.failing = (what) => what === 'write' && randomInt(10) === 0
    await Promise.allSettled(
      times(8, async () => {
        for (let turns = randomInt(4); turns > 0; turns--) await new Promise(setImmediate)
        await acts[randomInt(acts.length)]?.()
      })
    )
    alive = alive.filter(({ destroyed, failure }) => !destroyed && failure === null).slice(-40)
  }
  traffic.failing = null
  await store.read(someHandle())
  const { kinds, records } = await verify(db)
  t.ok(records > 0)
  t.match(kinds, { 'missing-expiry-entry': 0, 'missing-principal-entry': 0 })
  clock.advance({ seconds: 120 })
  await store.deleteExpired()
  t.same(
    (await keysIn(db)).filter((kind) => kind !== 'principal'),
    [],
    'nothing is left'
  )
})

test('an entry that is damaged is logged, and all of its sessions go that it still names', async (t) => {
  const { store, clock, db, errors, create, save, entries } = await open(t)
  const count = 3
  for (let at = 0; at < 32 * count + 4; at++) {
    const records = times(count, () => create(MINUTE))
    // Kept apart from its record.
    records[0]?.apply('long', JSON.stringify('x'.repeat(3000)))
    await save(...records)
    t.equal((await verify(db)).problems, 0)
    const [entry] = (await entries()) as [ExpiryEntry]
    const value = Buffer.from((await db.get(entry.key)) ?? '')
    t.equal(value.length, 32 * count + 4)
    value[at] = (value[at] ?? 0) ^ 4
    await putRaw(db, entry.key, value)
    const lost = at < 32 * count ? 1 : 0
    t.match((await verify(db)).kinds, { 'corrupt-expiry-entry': 1, 'missing-expiry-entry': lost })
    clock.advance({ seconds: 60 })
    t.equal(await store.deleteExpired(), count - lost)
    t.match(errors.splice(0), [/does not match its checksum/])
    t.equal((await entries()).length, 0)
    const left = records.filter((_, place) => lost === 1 && place === Math.floor(at / 32))
    for (const record of left) await store.destroy(record)
    t.same(await keysIn(db), [])
  }
})

test('an entry that is cut down to one session is removed with it', async (t) => {
  const { store, clock, db, create, save, entries } = await open(t)
  await save(create(MINUTE), create(MINUTE))
  const [{ key }] = (await entries()) as [ExpiryEntry]
  await putRaw(db, key, ((await db.get(key)) as Buffer).subarray(0, 36))
  clock.advance({ seconds: 60 })
  t.equal(await store.deleteExpired(), 1)
  t.same(await keysIn(db), ['record'], 'of the other one verify tells')
  t.match((await verify(db)).kinds, { 'missing-expiry-entry': 1 })
})

test('an entry under another time, or cut short, ends no session that lives', async (t) => {
  const { store, clock, db, create, save, entries } = await open(t)
  const records = times(4, () => create(DAY))
  await save(...records)
  const [{ key }] = (await entries()) as [ExpiryEntry]
  const value = (await db.get(key)) as Buffer
  await putRaw(db, key, null)
  for (const length of [value.length, value.length - 1, 40, 3, 0]) {
    const earlier = Buffer.from(key)
    earlier.fill(length, 3, 5)
    earlier[3] = 0
    await putRaw(db, earlier, value.subarray(0, length))
  }
  t.match(await verify(db), { kinds: { 'missing-expiry-entry': 4, 'corrupt-expiry-entry': 5 } })
  t.equal(await store.deleteExpired(), 0)
  t.equal(await store.count(), 4)
  t.match((await verify(db)).kinds, { 'missing-expiry-entry': 0, 'corrupt-expiry-entry': 0 })
  clock.advance({ seconds: 86_400 })
  t.equal(await store.deleteExpired(), 4)
})
