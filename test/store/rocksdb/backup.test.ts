import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import {
  type LongOperation,
  MemoryStore,
  openSessionStore,
  restoreBackup,
  type SessionStore
} from '../../../lib/index.js'
import { META_KEY } from '../../../lib/store/format/keys.js'
import { loadBinding } from '../../../lib/store/rocksdb/engine/binding.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { addCounter, cookieOf, createApp, listen, temporaryFolder } from '../../support/app.js'
import {
  openApplicationDatabase,
  putRaw,
  readDatabase,
  withDatabase
} from '../../support/rocksdb.js'
import { contents, someRecord } from '../../support/sessions.js'

const UNUSABLE = 'SLED_SESSION_BACKUP_UNUSABLE'

/** A store with sessions, and folders beside it. */
async function stored(t: Test, count = 200) {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'storage')
  const store = await openSessionStore(path)
  const now = Date.now()
  await store.putRecords(Array.from({ length: count }, (_, at) => someRecord(at, now)))
  return { path, store, to: join(folder, 'bäck up', '1'), back: join(folder, 'back') }
}

async function backup(store: SessionStore, to: string, options?: LongOperation) {
  if (store.backup === undefined) throw new Error('it has no backup()')
  return store.backup(to, options)
}

async function sound(t: Test, path: string): Promise<void> {
  const { problems, listed } = await withDatabase(path, verify)
  t.same([problems, listed], [0, []], 'it passes verify')
}

async function withStore<T>(path: string, work: (store: SessionStore) => Promise<T>): Promise<T> {
  const store = await openSessionStore(path, { readOnly: true })
  return work(store).finally(() => store.close())
}

test('a backup is made while requests go on, and restored it has what was acknowledged', async (t) => {
  const folder = await temporaryFolder(t)
  const app = await createApp(t, { path: join(folder, 'storage') })
  addCounter(app)
  const url = await listen(app)
  const visit = async (cookie: string) => (await fetch(url, { headers: { cookie } })).text()
  const first = await Promise.all(
    Array.from({ length: 100 }, async () => cookieOf(await fetch(url)))
  )
  let stop = false
  const busy = (async () => {
    while (!stop) await Promise.all(first.slice(0, 10).map((cookie) => visit(cookie ?? '')))
  })()
  const result = await app.sessions.backup(join(folder, 'backup'))
  stop = true
  await busy
  t.ok(result.entries > 100, 'a record of each, and the index')
  await app.close()
  await sound(t, join(folder, 'backup'))

  await restoreBackup(join(folder, 'backup'), join(folder, 'restored'))
  await sound(t, join(folder, 'restored'))
  const again = await createApp(t, { path: join(folder, 'restored') })
  addCounter(again)
  const place = await listen(again)
  for (const cookie of first) {
    const text = await (await fetch(place, { headers: { cookie: cookie ?? '' } })).text()
    t.match(text, /Current count: [1-9]/)
  }
})

test('a backup is of one moment, and the next one writes only what has changed', async (t) => {
  const { store, path, to } = await stored(t)
  const before = await contents(store)
  const running = backup(store, to)
  await new Promise((resolve) => setImmediate(resolve))
  await new Promise((resolve) => setImmediate(resolve))
  await store.putRecords(Array.from({ length: 50 }, (_, at) => someRecord(at, Date.now())))
  const first = await running
  t.match(first, { entries: 354, written: 354, deleted: 0 })
  t.same(await withStore(to, contents), before)

  t.match(await backup(store, to), { entries: 443, written: 89, deleted: 0 })
  t.match(await backup(store, to), { entries: 443, written: 0, deleted: 0 })
  const [{ handle }] = (await contents(store)) as [{ handle: string }]
  const record = await store.loadByHandle(handle)
  if (record === null) throw new Error('no record')
  await store.destroy(record)
  const after = await backup(store, to)
  t.ok([1, 2].includes(after.deleted), 'the record, and it is in no list any more')
  t.equal(after.written, 0)
  const present = await contents(store)
  await store.close()
  t.same(await withStore(to, contents), present)
  await sound(t, to)
  const notMeta = ([key]: [Buffer, Buffer]): boolean => !key.equals(META_KEY)
  t.same((await readDatabase(to)).filter(notMeta), (await readDatabase(path)).filter(notMeta))
})

test('progress is told up to the end', async (t) => {
  const { store, to, back } = await stored(t)
  const seen: number[] = []
  await backup(store, to, {
    onProgress({ done, total }) {
      seen.push(done)
      t.ok((total ?? 0) > 0)
    }
  })
  t.ok(seen.length > 3)
  t.same(
    seen,
    [...seen].sort((a, b) => a - b)
  )
  await store.close()
  let last = 0
  await restoreBackup(to, back, { onProgress: ({ done }) => (last = done) })
  t.equal(last, 354)
})

test('a backup that was interrupted is refused by all, and completed by the next', async (t) => {
  const { store, to, back } = await stored(t)
  const before = await contents(store)
  const stopping = new AbortController()
  const onProgress = ({ done }: { done: number }): void => {
    if (done > 100) stopping.abort(new Error('enough'))
  }
  await t.rejects(backup(store, to, { onProgress, signal: stopping.signal }), {
    message: 'enough'
  })

  const refused = { code: UNUSABLE, message: /backup that was begun at 20.* not finished/ }
  await t.rejects(restoreBackup(to, back), refused)
  await t.rejects(openSessionStore(to), refused)
  await t.rejects(openSessionStore(to, { readOnly: true }), refused)
  await t.rejects(async () => createApp(t, { path: to }), refused)

  const result = await backup(store, to)
  t.ok(result.written < 354, 'what was there already is not written again')
  await store.close()
  await restoreBackup(to, back)
  t.same(await withStore(back, contents), before)
})

test('a restore that was interrupted is refused by servers, and goes on', async (t) => {
  const { store, to, back } = await stored(t)
  const before = await contents(store)
  await backup(store, to)
  await store.close()
  const stopping = new AbortController()
  const onProgress = ({ done }: { done: number }): void => {
    if (done > 100) stopping.abort()
  }
  const { signal } = stopping
  await t.rejects(restoreBackup(to, back, { onProgress, signal }), { name: 'AbortError' })
  await t.rejects(openSessionStore(back), { code: UNUSABLE, message: /a restore that was begun/ })
  t.ok((await restoreBackup(to, back)).written < 354)
  t.same(await withStore(back, contents), before)
  await sound(t, back)
})

test('closing the store ends a backup', async (t) => {
  const { store, to } = await stored(t, 1000)
  const running = backup(store, to)
  const failed = t.rejects(
    running.then(() => {}),
    { code: 'SLED_SESSION_STORE_UNAVAILABLE' }
  )
  await store.close()
  await failed
  await t.rejects(openSessionStore(to), { code: /BACKUP_UNUSABLE|PATH_UNUSABLE/ })
})

test('nothing that is no backup is written over', async (t) => {
  const { store, path, to, back } = await stored(t)
  const files = join(to, '..', 'files')
  await mkdir(files, { recursive: true })
  await writeFile(join(files, 'mine'), '')
  await t.rejects(backup(store, files), { code: UNUSABLE, message: /holds other files/ })
  t.same(await readdir(files), ['mine'])
  await t.rejects(backup(store, path), { code: UNUSABLE, message: /holds no backup/ })
  await t.rejects(backup(store, join(files, 'mine')), { code: UNUSABLE })

  await backup(store, to)
  const other = await openSessionStore(back)
  await t.rejects(backup(store, back), { code: UNUSABLE }, 'nor another database')
  await t.rejects(restoreBackup(to, back), { code: UNUSABLE, message: /is not empty/ })
  await t.rejects(restoreBackup(to, files), { code: UNUSABLE, message: /holds other files/ })
  await t.rejects(restoreBackup(to, path), { code: UNUSABLE, message: /is not empty/ })
  await other.close()
  await store.close()
  await t.rejects(restoreBackup(path, join(files, 'new')), { code: UNUSABLE, message: /no backup/ })
  await t.rejects(restoreBackup(files, back), { code: 'SLED_SESSION_PATH_UNUSABLE' })
})

test('a copy that was killed at its start can begin anew', async (t) => {
  const { store, to, back } = await stored(t, 5)
  await mkdir(to, { recursive: true })
  await withDatabase(to, async () => {}, 'session')
  t.match(await backup(store, to), { written: 10 })
  await store.close()
  const RocksDB = await loadBinding()
  await mkdir(back)
  const blank = new RocksDB(back, {})
  await blank.ready()
  await blank.close()
  t.match(await restoreBackup(to, back), { written: 10 })
})

test("an application's database is no place for a backup", async (t) => {
  const { store, to, back } = await stored(t, 5)
  await mkdir(to, { recursive: true })
  await withDatabase(to, (db) => putRaw(db, Buffer.from('k'), Buffer.from('v')), 'orders')
  const code = 'SLED_SESSION_COLUMN_FAMILY'
  await t.rejects(backup(store, to), { code })
  t.equal((await readDatabase(to, 'orders')).length, 1)
  const RocksDB = await loadBinding()
  await mkdir(back)
  const own = new RocksDB(back, {})
  await own.ready()
  await putRaw(own, Buffer.from('k'), Buffer.from('v'))
  await own.close()
  await t.rejects(backup(store, back), { code })
  await store.close()
})

test('a server that opens a backup makes it its own', async (t) => {
  const { store, to } = await stored(t, 5)
  await backup(store, to)
  t.equal((await withStore(to, contents)).length, 5, 'looking does not')
  await backup(store, to)
  await (await openSessionStore(to)).close()
  await t.rejects(backup(store, to), { code: UNUSABLE, message: /holds no backup/ })
  await store.close()
})

test('a newer format is not restored', async (t) => {
  const { store, to, back } = await stored(t, 5)
  await backup(store, to)
  await store.close()
  await withDatabase(to, async (db) => {
    const meta = JSON.parse(String(await db.get(META_KEY)))
    await putRaw(db, META_KEY, Buffer.from(JSON.stringify({ ...meta, format: 99 })))
  })
  await t.rejects(restoreBackup(to, back), { code: 'SLED_SESSION_FORMAT_UNSUPPORTED' })
})

test("only the sessions of an application's own database are backed up", async (t) => {
  const folder = await temporaryFolder(t)
  const { db } = await openApplicationDatabase(join(folder, 'db'), ['session', 'orders'])
  const orders = db.columnFamily('orders')
  await putRaw(orders, Buffer.from('k'), Buffer.from('v'))
  const app = await createApp(t, { db })
  addCounter(app)
  await fetch(await listen(app))
  t.equal((await app.sessions.backup(join(folder, 'backup'))).entries, 2)
  await app.close()
  await orders.close()
  await db.close()
  t.equal((await readDatabase(join(folder, 'backup'))).length, 3)
})

test('a disk that fails fails the backup, and the live database goes on', async (t) => {
  const folder = await temporaryFolder(t)
  const { db, traffic } = await openApplicationDatabase(join(folder, 'db'))
  const app = await createApp(t, { db })
  addCounter(app)
  const url = await listen(app)
  await fetch(url)
  const nowhere = app.sessions.backup('/proc/nowhere')
  await t.rejects(nowhere, { code: 'SLED_SESSION_PATH_UNUSABLE' })
  traffic.failing = 'read'
  const failing = app.sessions.backup(join(folder, 'backup'))
  await t.rejects(failing, { code: 'SLED_SESSION_STORE_UNAVAILABLE' })
  traffic.failing = null
  t.equal(await (await fetch(url)).text(), 'Current count: 0')
  await app.close()
  await db.close()
})

test('a store without files of its own says so', async (t) => {
  const app = await createApp(t, { store: new MemoryStore() })
  const message = /cannot back itself up/
  await t.rejects(app.sessions.backup('x'), { code: 'SLED_SESSION_NOT_SUPPORTED', message })
})
