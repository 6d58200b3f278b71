import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { startChild } from '../../support/child.js'
import { counterOf, lmdbInTrouble, openStore, storeSession } from '../../support/lmdb.js'

/** Far beyond what it takes, which is some ms. */
const BOUND = 5000

test('a process that is killed inside a write transaction blocks nobody, and nothing of it is there', async (t) => {
  const { store, path } = await openStore(t)
  const { record, handle } = await storeSession(store)
  const dying = startChild(t, 'test/fixtures/lmdb-dies.ts', { STORAGE: path, AS: 'writer' })
  t.equal(await dying.ended(), 'SIGKILL')
  const start = performance.now()
  record.apply('counter', '2')
  await store.save(record, new Map([['counter', '2']]))
  const took = performance.now() - start
  t.ok(took < BOUND, `the next write took ${took} ms`)
  t.equal(await counterOf(store, handle), '2')
})

test('a process that is killed as a reader keeps no space once another opens the database', async (t) => {
  const { store, path } = await openStore(t)
  const { record } = await storeSession(store, { counter: `"${'x'.repeat(30_000)}"` })
  const grow = async (): Promise<number> => {
    for (let at = 0; at < 100; at++) {
      record.apply('counter', `"${String(at).padStart(30_000)}"`)
      await store.save(record, new Map(record.data))
    }
    return (await stat(join(path, 'data.mdb'))).size
  }
  const before = await grow()
  const dying = startChild(t, 'test/fixtures/lmdb-dies.ts', { STORAGE: path, AS: 'reader' })
  t.equal(await dying.ended(), 'SIGKILL')
  await openStore(t, { path })
  t.equal(await grow(), before)
})

test('what one process has stored or ended is what the next read of another sees', async (t) => {
  const { store: one, path } = await openStore(t)
  const { store: other } = await openStore(t, { path })
  const { record, handle } = await storeSession(one)
  for (let counter = 2; counter < 50; counter++) {
    // No turn of the event loop lies between what is acknowledged and the read.
    await one.compareAndSet(record, 'counter', String(counter - 1), String(counter))
    const seen = other.loadByHandle(handle)
    t.ok(!(seen instanceof Promise), 'at once')
    t.equal((await seen)?.data.get('counter'), String(counter))
  }
  await one.destroy(record)
  t.equal(other.loadByHandle(handle), null)
})

test('all writes of a turn are one transaction', async (t) => {
  const { store } = await openStore(t)
  const sessions = await Promise.all(Array.from({ length: 20 }, () => storeSession(store)))
  const before = (await store.stats()).writes
  await Promise.all(sessions.map(({ record }) => store.save(record, new Map([['counter', '1']]))))
  const after = (await store.stats()).writes
  t.equal(Number(after?.sessions) - Number(before?.sessions), 20)
  t.equal(Number(after?.groups) - Number(before?.groups), 1)
  t.equal(after?.largestGroup, 20)
})

test('a commit that LMDB refuses is made again, thrice at most', async (t) => {
  const trouble = { failing: null, refusals: 0 }
  const { store } = await openStore(t, {}, lmdbInTrouble(trouble))
  const { record, handle } = await storeSession(store)
  const count = (counter: number): Promise<boolean> =>
    store.compareAndSet(record, 'counter', String(counter - 1), String(counter))
  trouble.refusals = 2
  t.equal(await count(2), true)
  t.equal(await counterOf(store, handle), '2')
  trouble.refusals = 3
  await t.rejects(count(3), /Commit failed/)
  t.equal(await counterOf(store, handle), '2')
  t.equal(await count(3), true)
  t.equal(await counterOf(store, handle), '3')
})

test('a commit that fails by a fault of the system is the last of its process, and reads go on', async (t) => {
  const trouble = { failing: null, refusals: 0, code: 5 }
  const { store, path } = await openStore(t, {}, lmdbInTrouble(trouble))
  const { record, handle } = await storeSession(store)
  const count = (counter: number): Promise<boolean> =>
    store.compareAndSet(record, 'counter', String(counter - 1), String(counter))
  trouble.refusals = 1
  const UNSOUND = { code: 'SLED_SESSION_STORE_UNAVAILABLE', message: /restart the process/ }
  await t.rejects(Promise.all([count(2), count(3)]), UNSOUND)
  await t.rejects(storeSession(store), UNSOUND)
  t.equal(await counterOf(store, handle), '1')
  const { store: other } = await openStore(t, { path })
  await storeSession(other)
  t.equal(await store.count(), 2)
})
