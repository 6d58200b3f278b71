import { randomInt } from 'node:crypto'
import { test } from 'tap'
import type { SessionRecord } from '../../../lib/index.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { until } from '../../../scripts/servers/until.js'
import { temporaryFolder } from '../../support/app.js'
import { Gate } from '../../support/gate.js'
import { DAY, keysIn, MINUTE, openIndexedStore, times } from '../../support/indexed-store.js'
import { someHandle } from '../../support/sessions.js'

test('an entry stays while a session is in it whose end has failed', async (t) => {
  const { store, clock, traffic, db, create, save } = await openIndexedStore(t)
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

test('what replaces a session whose write fails is filed, and in the list of its user', async (t) => {
  const { store, clock, traffic, db, create, save } = await openIndexedStore(t)
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
  const { store, clock, traffic, db, create, save } = await openIndexedStore(t)
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
  const { store, clock, traffic, db, create, save } = await openIndexedStore(t)
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
  const before = await openIndexedStore(t, path)
  const records = times(2, () => before.create(MINUTE))
  await before.save(...records)
  await before.close()
  const { store, clock, traffic, db, save } = await openIndexedStore(t, path)
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

test('what visitors do while the reaper works on their entry holds, and so does what fails', async (t) => {
  for (const failing of [false, true]) {
    const { store, clock, traffic, db, create, save } = await openIndexedStore(t)
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
  const { store, clock, traffic, db, create, save } = await openIndexedStore(t)
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
    async () => {
      // As the guard gives up what takes too long.
      const record = some()
      if (record !== undefined) record.failure ??= new Error('given up')
    },
    () => store.deleteExpired(),
    async () => clock.advance({ milliseconds: randomInt(-300, 1500) })
  ]
  for (let round = 0; round < 300; round++) {
    traffic.failing = (what) => ['begin', 'write'].includes(what) && randomInt(20) === 0
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
