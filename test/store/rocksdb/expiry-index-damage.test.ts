import { test } from 'tap'
import type { ExpiryEntry } from '../../../lib/store/rocksdb/format/expiry-entry.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { DAY, keysIn, MINUTE, openIndexedStore, times } from '../../support/indexed-store.js'
import { putRaw } from '../../support/rocksdb.js'

test('an entry that is damaged is logged, and all of its sessions go that it still names', async (t) => {
  const { store, clock, db, errors, create, save, entries } = await openIndexedStore(t)
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
  const { store, clock, db, create, save, entries } = await openIndexedStore(t)
  await save(create(MINUTE), create(MINUTE))
  const [{ key }] = (await entries()) as [ExpiryEntry]
  await putRaw(db, key, ((await db.get(key)) as Buffer).subarray(0, 36))
  clock.advance({ seconds: 60 })
  t.equal(await store.deleteExpired(), 1)
  t.same(await keysIn(db), ['record'], 'of the other one verify tells')
  t.match((await verify(db)).kinds, { 'missing-expiry-entry': 1 })
})

test('an entry under another time, or cut short, ends no session that lives', async (t) => {
  const { store, clock, db, create, save, entries } = await openIndexedStore(t)
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
