import { test } from 'tap'
import { LmdbStore } from '../../../lib/lmdb.js'
import { createSessionId, handleOf } from '../../../lib/record/handle.js'
import type { LmdbRecord } from '../../../lib/store/lmdb/lmdb-record.js'
import { lmdbStoreOfAnotherProcess, temporaryFolder } from '../../support/lmdb.js'

const CONTEXT = { now: Date.now, log: { debug() {}, info() {}, warn() {}, error() {} } }
const MIB = 1024 * 1024

async function save(store: LmdbStore, data: Record<string, string>): Promise<string> {
  const id = createSessionId()
  const now = Date.now()
  const start = { handle: handleOf(id), createdAt: now, lastSeenAt: now, expiresAt: now + 60_000 }
  const record = store.create(start)
  for (const [key, text] of Object.entries(data)) record.apply(key, text)
  await store.save(record, new Map(record.data))
  return id
}

test('what another process has changed or ended is seen by the next load', async (t) => {
  const path = await temporaryFolder(t)
  const store = new LmdbStore({ path })
  const other = await lmdbStoreOfAnotherProcess({ path })
  for (const each of [store, other]) await each.open(CONTEXT)
  const id = await save(store, { counter: '1' })
  for (let counter = 2; counter < 10; counter++) {
    for (const each of [store, other]) {
      const record = each.load(id) as LmdbRecord
      t.equal(record.data.get('counter'), String(counter - 1))
      t.equal((each.load(id) as LmdbRecord).data.get('counter'), String(counter - 1))
    }
    const [changing] = counter % 2 ? [store] : [other]
    const record = changing?.load(id) as LmdbRecord
    record.apply('counter', String(counter))
    await changing?.save(record, new Map([['counter', String(counter)]]))
  }
  await other.destroy(other.load(id) as LmdbRecord)
  t.equal(store.load(id), null)
  await Promise.all([store.close(), other.close()])
})

test('each load gives a record of its own, which nobody else sees change', async (t) => {
  const store = new LmdbStore({ path: await temporaryFolder(t) })
  await store.open(CONTEXT)
  const id = await save(store, { a: '1', b: '2' })
  const one = store.load(id) as LmdbRecord
  one.apply('a', '10')
  one.principal = 'ann'
  one.expiresAt = 0
  const other = store.load(id) as LmdbRecord
  t.same(
    [...other.data],
    [
      ['a', '1'],
      ['b', '2']
    ]
  )
  t.match(other, { principal: null, size: 4 })
  one.apply('b', undefined)
  await store.save(one, new Map([['b', undefined]]))
  t.same([...other.data.keys()], ['a', 'b'])
  await store.close()
})

test('whoever knows a handle does not pass for its visitor', async (t) => {
  const store = new LmdbStore({ path: await temporaryFolder(t) })
  await store.open(CONTEXT)
  const id = await save(store, { a: '1' })
  const { handle } = store.load(id) as LmdbRecord
  t.ok(store.loadByHandle(handle))
  t.equal(store.load(handle), null)
  t.ok(store.load(id))
  t.equal(store.loadByHandle(id), null)
  await store.close()
})

test('a write that was refused leaves what is stored', async (t) => {
  const path = await temporaryFolder(t)
  const store = new LmdbStore({ path })
  await store.open(CONTEXT)
  const id = await save(store, { a: '1' })
  const [one, other] = [store.load(id) as LmdbRecord, store.load(id) as LmdbRecord]
  await store.destroy(one)
  other.apply('a', '2')
  await store.save(other, new Map([['a', '2']]))
  t.equal(other.destroyed, true)
  t.equal(store.load(id), null)
  await store.close()
})

test('the records that are kept have a bound, and those that are asked for stay', async (t) => {
  const store = new LmdbStore({ path: await temporaryFolder(t) })
  await store.open(CONTEXT)
  const text = `"${'x'.repeat(30_000)}"`
  const busy = await save(store, { text: '"busy"' })
  const ids: string[] = []
  for (let at = 0; at < 600; at++) {
    ids.push(await save(store, { text }))
    t.ok(store.load(busy))
  }
  const { cache } = await store.stats()
  t.ok(cache !== null && cache.bytes > MIB && cache.bytes <= cache.limit, `${cache?.bytes} bytes`)
  t.ok(cache !== null && cache.records < 300, `${cache?.records} records`)
  t.ok(cache !== null && cache.misses <= 1, `${cache?.misses} misses`)
  for (const id of ids) t.equal((store.load(id) as LmdbRecord).data.get('text'), text)
  await store.close()
})
