import { type Test, test } from 'tap'
import { MemoryStore, onInactivity, SessionRecord, type SessionStore } from '../../lib/index.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import { recordKey } from '../../lib/store/format/keys.js'
import { openDatabase } from '../../lib/store/rocksdb/engine/database.js'
import { RocksDBStore } from '../../lib/store/rocksdb/rocksdb-store.js'
import { handlesOf } from '../../lib/tools/conformance/harness.js'
import {
  addCounter,
  cookieOf,
  createApp,
  listen,
  TestClock,
  temporaryFolder
} from '../support/app.js'
import { countKind, putRaw, readDatabase, withDatabase } from '../support/rocksdb.js'

const MIB = 1024 * 1024
const clock = new TestClock()

function storeAt(path: string): RocksDBStore {
  return new RocksDBStore({ connect: () => openDatabase(path, 'session', MIB), cacheBytes: MIB })
}

const kinds: [string, (t: Test) => Promise<SessionStore>][] = [
  ['RocksDB', async (t) => storeAt(await temporaryFolder(t))],
  ['memory', async () => new MemoryStore()]
]

/** A log that keeps what it is given. */
function logOf(lines: string[]) {
  const log = (_fields: object, message: string): void => {
    lines.push(message)
  }
  return { debug: log, info: log, warn: log, error: log }
}

async function opened(t: Test, store: SessionStore, lines: string[] = []): Promise<SessionStore> {
  await store.open({ now: clock.now, log: logOf(lines) })
  let closed = false
  const { close } = store
  store.close = async () => {
    if (!closed) await close.call(store)
    closed = true
  }
  t.teardown(() => store.close())
  return store
}

/** A session with something in each of its fields. */
function someRecord(number: number, lifetime = 60_000): SessionRecord {
  const { time } = clock
  const record = new SessionRecord({
    handle: handleOf(createSessionId()),
    createdAt: time - 5,
    lastSeenAt: time - 3,
    expiresAt: time + lifetime
  })
  record.expiry = onInactivity(60_000)
  record.principal = `user ${number % 3}`
  record.metadata = JSON.stringify({ number })
  record.apply('counter', String(number))
  record.apply('\ud800 lone', '"é"')
  return record
}

const plain = ({ handle, createdAt, lastSeenAt, expiresAt, ...rest }: SessionRecord) => {
  const { expiry, principal, metadata, size } = rest
  const data = [...rest.data]
  return { handle, createdAt, lastSeenAt, expiresAt, expiry, principal, metadata, size, data }
}

async function all(store: SessionStore, after?: string): Promise<SessionRecord[]> {
  const found: SessionRecord[] = []
  for await (const record of store.records(after)) found.push(record)
  return found
}

const byHash = (a: SessionRecord, b: SessionRecord): number =>
  Buffer.from(a.handle, 'base64url').compare(Buffer.from(b.handle, 'base64url'))

for (const [kind, create] of kinds) {
  test(`${kind}: what is put comes back whole, in the order of its handles`, async (t) => {
    const store = await opened(t, await create(t))
    const records = Array.from({ length: 150 }, (_, number) => someRecord(number))
    await store.putRecords(records)
    await store.putRecords([])
    const found = await all(store)
    records.sort(byHash)
    t.same(found.map(plain), records.map(plain))
    for (const at of [0, 31, 32, 149]) {
      const rest = await all(store, records[at]?.handle)
      t.same(rest.map(plain), records.slice(at + 1).map(plain), `and goes on behind ${at}`)
    }
    t.equal((await handlesOf(store, 'user 1')).length, 50)
    t.equal(await store.count(), 150)

    found[0]?.apply('counter', 'changed')
    t.same(plain((await all(store))[0] as SessionRecord), plain(records[0] as SessionRecord))
  })

  test(`${kind}: a walk shows one moment, without what is past its time`, async (t) => {
    const store = await opened(t, await create(t))
    const alive = Array.from({ length: 80 }, (_, number) => someRecord(number))
    await store.putRecords([...alive, someRecord(80, 0), someRecord(81, -1)])
    const seen = new Set<string>()
    for await (const { handle } of store.records()) {
      if (seen.size === 0) {
        await store.putRecords(Array.from({ length: 50 }, (_, number) => someRecord(number)))
      }
      seen.add(handle)
    }
    t.same(seen, new Set(alive.map(({ handle }) => handle)))
  })

  test(`${kind}: a session that is stored is replaced, its index entries too`, async (t) => {
    const store = await opened(t, await create(t))
    const record = someRecord(0)
    await store.putRecords([record])
    const held = (await store.loadByHandle(record.handle)) as SessionRecord
    held.apply('counter', '7')
    const pending = store.save(held, null)

    record.principal = 'somebody else'
    record.expiresAt += 1000
    record.apply('counter', '100')
    await Promise.all([pending, store.putRecords([record])])
    t.same((await all(store)).map(plain), [plain(record)])
    await t.rejects(store.save(held, null), { code: 'SLED_SESSION_STORE_UNAVAILABLE' })
    t.same((await all(store)).map(plain), [plain(record)], 'its holder cannot bring it back')
    t.same(await handlesOf(store, 'user 0'), [])
    t.same(await handlesOf(store, 'somebody else'), [record.handle])

    const again = (await store.loadByHandle(record.handle)) as SessionRecord
    const destroyed = store.destroy(again)
    await Promise.all([destroyed, store.putRecords([record])])
    t.same((await all(store)).map(plain), [plain(record)], 'one that was just destroyed is back')
    t.same(await handlesOf(store, 'somebody else'), [record.handle])
    clock.advance({ seconds: 61 })
    t.equal(await store.deleteExpired(), 1)
    t.equal(await store.count(), 0)
  })
}

test('RocksDB: nothing is left behind in the indexes by replacing', async (t) => {
  const path = await temporaryFolder(t)
  const store = await opened(t, storeAt(path))
  const records = Array.from({ length: 20 }, (_, number) => someRecord(number))
  await store.putRecords(records)
  for (const record of records) {
    record.expiresAt += 500
    record.principal = record.principal === 'user 0' ? null : 'user 0'
  }
  await store.putRecords(records)
  await store.close()
  const entries = await readDatabase(path)
  t.same(
    [1, 2, 3].map((kind) => countKind(entries, kind)),
    [20, 1, 13]
  )
})

test('RocksDB: a corrupt record is left out of the walk and logged', async (t) => {
  const path = await temporaryFolder(t)
  const store = await opened(t, storeAt(path))
  const records = Array.from({ length: 3 }, (_, number) => someRecord(number)).sort(byHash)
  await store.putRecords(records)
  await store.close()
  const [, broken] = records
  await withDatabase(path, (db) =>
    putRaw(db, recordKey(broken?.handle ?? ''), Buffer.alloc(100, 1))
  )
  const lines: string[] = []
  const again = await opened(t, storeAt(path), lines)
  t.same(
    (await all(again)).map(plain),
    [records[0], records[2]].map((r) => plain(r as SessionRecord))
  )
  t.match(lines, [/session record that cannot be read was left out/])
})

test('RocksDB: closing does not wait for a slow reader, who then gets an error', async (t) => {
  const store = await opened(t, storeAt(await temporaryFolder(t)))
  await store.putRecords(Array.from({ length: 100 }, (_, number) => someRecord(number)))
  const walk = store.records()[Symbol.asyncIterator]()
  t.equal((await walk.next()).done, false)
  await store.close()
  await t.rejects(
    async () => {
      while ((await walk.next()).done !== true);
    },
    { code: 'SLED_SESSION_STORE_UNAVAILABLE' }
  )
})

test('a visitor whose session is replaced sees the new one at once', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const id = cookie.slice('id='.length)
  const { time } = clock
  const record = new SessionRecord({
    handle: handleOf(id),
    createdAt: time,
    lastSeenAt: time,
    expiresAt: Date.now() + 60_000
  })
  record.apply('counter', '41')
  const path = await temporaryFolder(t)
  const store = await opened(t, storeAt(path))
  await store.putRecords([record])
  await store.close()
  const moved = await createApp(t, { path })
  addCounter(moved)
  const answer = await fetch(await listen(moved), { headers: { cookie } })
  t.equal(await answer.text(), 'Current count: 41')
})
