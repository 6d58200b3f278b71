import { type Test, test } from 'tap'
import type { LmdbStore } from '../../../lib/lmdb.js'
import { createSessionId, handleOf } from '../../../lib/record/handle.js'
import { until } from '../../../scripts/servers/until.js'
import { openStore } from '../../support/lmdb.js'

/** More than fit in one batch. */
const MANY = 500
const MINUTE = 60_000

/** Two processes on one database, and their clock. */
async function openTwo(t: Test) {
  const { store: one, path, clock } = await openStore(t)
  const second = await openStore(t, { path })
  second.clock.time = clock.time
  const advance = (milliseconds: number): void => {
    clock.time += milliseconds
    second.clock.time = clock.time
  }
  return { one, other: second.store, clock, advance }
}

async function storeMany(store: LmdbStore, now: number): Promise<void> {
  const records = Array.from({ length: MANY }, (_, at) =>
    store.create({
      handle: handleOf(createSessionId()),
      createdAt: now,
      lastSeenAt: now,
      expiresAt: now + 1 + at
    })
  )
  await store.putRecords(records)
}

test('of two processes that reap at once one does it, and each session is counted once', async (t) => {
  const { one, other, clock, advance } = await openTwo(t)
  await storeMany(one, clock.time)
  advance(MINUTE)
  const deleted = await Promise.all([one.deleteExpired(), other.deleteExpired()])
  t.same(
    deleted.sort((a, b) => a - b),
    [0, MANY]
  )
  t.equal(await other.count(), 0)
  t.equal(await other.deleteExpired(), 0)
})

test('a process that was killed while it reaped is followed by another', async (t) => {
  const { one, other, clock, advance } = await openTwo(t)
  await storeMany(one, clock.time)
  advance(MINUTE)
  t.equal(await other.takeLease('reaper', 'who was killed', 300), true)
  t.equal(await one.deleteExpired(), 0)
  await until(async () => (await one.deleteExpired()) === MANY)
  t.equal(await one.count(), 0)
})

test('an entry whose session another process has prolonged is filed again, and comes up then', async (t) => {
  const { one, other, clock, advance } = await openTwo(t)
  const handle = handleOf(createSessionId())
  const record = one.create({
    handle,
    createdAt: clock.time,
    lastSeenAt: clock.time,
    expiresAt: clock.time + MINUTE
  })
  await one.save(record, null)
  const theirs = await other.loadByHandle(handle)
  if (theirs === null) throw new Error('it is there')
  theirs.expiresAt += 2 * MINUTE
  await other.save(theirs, null)
  advance(2 * MINUTE)
  t.equal(await one.deleteExpired(), 0)
  t.match((await one.stats()).reaper, { deleted: 0, refiled: 1 })
  advance(2 * MINUTE)
  t.equal(await one.deleteExpired(), 1)
  t.equal(await other.loadByHandle(handle), null)
})
