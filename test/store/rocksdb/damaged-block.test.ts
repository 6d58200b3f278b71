import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import {
  openSessionStore,
  restoreBackup,
  type SessionRecord,
  type SessionStore
} from '../../../lib/index.js'
import { openDatabase, openReadOnly } from '../../../lib/store/rocksdb/engine/database.js'
import { RocksDBStore } from '../../../lib/store/rocksdb/rocksdb-store.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { temporaryFolder } from '../../support/app.js'
import { flipBlockOf, type Place } from '../../support/damage.js'
import { withDatabase } from '../../support/rocksdb.js'
import { contents, plain, someRecord } from '../../support/sessions.js'

const DAMAGED = { code: 'SLED_SESSION_STORE_DAMAGED', statusCode: 503, message: /Restore a backup/ }

interface Line {
  readonly level: string
  readonly message: string
}

/** A store that is closed after the test, and what it logs. */
async function openStore(
  t: Test,
  path: string,
  { now = Date.now, readOnly = false } = {}
): Promise<{ store: SessionStore; lines: Line[] }> {
  const lines: Line[] = []
  const hear = (level: string) => (_: object, message: string) => {
    lines.push({ level, message })
  }
  const log = { debug() {}, info: hear('info'), warn: hear('warn'), error: hear('error') }
  const connect = readOnly
    ? () => openReadOnly(path, 'session')
    : () => openDatabase(path, 'session', 1024 * 1024)
  const store = new RocksDBStore({ connect, cacheBytes: 1024 * 1024 })
  await store.open({ now, log })
  t.teardown(() => store.close())
  return { store, lines }
}

/** Sessions in table files, a file for each part: opening writes the log to one. */
async function filledFolder(t: Test, parts: SessionRecord[][]): Promise<string> {
  const path = join(await temporaryFolder(t), 'storage')
  for (const part of parts) {
    const store = await openSessionStore(path)
    await store.putRecords(part)
    await store.close()
  }
  await withDatabase(path, async () => {})
  return path
}

function someRecords(count: number, lifetime?: number): SessionRecord[] {
  const now = Date.now()
  return Array.from({ length: count }, (_, at) => someRecord(at, now, lifetime)).sort((a, b) =>
    hash(a).compare(hash(b))
  )
}

function hash({ handle }: SessionRecord): Buffer {
  return Buffer.from(handle, 'base64url')
}

/** A sound copy of a folder with one block damaged. */
async function damaged(t: Test, path: string, handle: string, place: Place): Promise<string> {
  const copy = join(await temporaryFolder(t), 'damaged')
  await cp(path, copy, { recursive: true })
  await flipBlockOf(copy, handle, place)
  return copy
}

async function unreadableOf(store: SessionStore, records: SessionRecord[]): Promise<Set<string>> {
  const lost = new Set<string>()
  for (const { handle } of records) {
    await store.read(handle).catch((error: unknown) => {
      lost.add(handle)
      return error
    })
  }
  return lost
}

test('a walk leaves out the sessions of a damaged block, names them, and has all others in order', async (t) => {
  const records = someRecords(600)
  const sound = await filledFolder(t, [records])
  for (const at of [20, 100, 300, 560]) {
    const path = await damaged(t, sound, (records[at] as SessionRecord).handle, 'record')
    const { store, lines } = await openStore(t, path, { readOnly: true })
    const lost = await unreadableOf(store, records)
    t.ok(lost.size > 0 && lost.size < 60, `${lost.size} sessions are in that block`)
    const leftOut: (string | null)[] = []
    const found: object[] = []
    for await (const record of store.records(undefined, (session) => leftOut.push(session))) {
      found.push(plain(record))
    }
    t.same(found, records.filter(({ handle }) => !lost.has(handle)).map(plain))
    t.same(leftOut.sort(), [...lost].map((handle) => handle.slice(0, 8)).sort())
    t.ok(Math.abs((await store.count()) - (records.length - lost.size)) <= 1)
    t.equal(lines.filter(({ message }) => /file of the session database/.test(message)).length, 1)
    await t.rejects(store.read([...lost][0] as string), DAMAGED)
    t.match(await store.stats?.(), { sessions: Number })
  }
})

test('sessions of other files that lie between those of a damaged block are all there', async (t) => {
  const few = someRecords(60)
  const many = someRecords(500)
  const path = await filledFolder(t, [many, few])
  await flipBlockOf(path, (few[30] as SessionRecord).handle, 'record')
  const { store } = await openStore(t, path, { readOnly: true })
  // A filter lets RocksDB look for one in a hundred of the others in that block, too.
  const lost = await unreadableOf(store, [...few, ...many])
  t.ok(lost.size > 0 && lost.size < 40, `${lost.size} cannot be read`)
  const expected = [...few, ...many].filter(({ handle }) => !lost.has(handle))
  expected.sort((a, b) => hash(a).compare(hash(b)))
  t.same(await contents(store), expected.map(plain))
})

test('behind a damaged block there may be more sessions than are looked up at once', async (t) => {
  const few = someRecords(40)
  const many = someRecords(10_000)
  const path = await filledFolder(t, [many, few])
  await flipBlockOf(path, (few[20] as SessionRecord).handle, 'record')
  const { store } = await openStore(t, path, { readOnly: true })
  const left = new Set<string>()
  let last = ''
  for await (const { handle } of store.records()) {
    const key = Buffer.from(handle, 'base64url').toString('hex')
    if (key <= last) t.fail('out of order')
    last = key
    left.add(handle)
  }
  const missing = [...few, ...many].filter(({ handle }) => !left.has(handle))
  t.same(await unreadableOf(store, missing), new Set(missing.map(({ handle }) => handle)))
  t.ok(missing.length < 1000, `${missing.length} cannot be read`)
})

test("a damaged list of a user's sessions hides none of them", async (t) => {
  const records = someRecords(900)
  const path = await filledFolder(t, [records])
  const theirs = records.filter(({ principal }) => principal === 'user 1')
  await flipBlockOf(path, (theirs[40] as SessionRecord).handle, 'principal')
  const { store } = await openStore(t, path)
  const handles: string[] = []
  for await (const batch of store.handlesOf('user 1')) handles.push(...batch)
  t.same(handles.sort(), theirs.map(({ handle }) => handle).sort())
})

test('the reaper deletes what it can read, on both sides of a damaged block', async (t) => {
  const records = someRecords(600, 1000)
  const sound = await filledFolder(t, [records])
  const victim = (records[300] as SessionRecord).handle
  const now = (): number => Date.now() + 10_000
  const path = await damaged(t, sound, victim, 'record')
  const { store, lines } = await openStore(t, path, { now })
  const lost = await unreadableOf(store, records)
  t.equal(await store.deleteExpired(), records.length - lost.size)
  t.match(lines.at(-1), { level: 'error', message: /lie in damaged files, and were not deleted/ })
  t.equal(await store.deleteExpired(), 0)
  const index = await openStore(t, await damaged(t, sound, victim, 'expiry'), { now })
  const deleted = await index.store.deleteExpired()
  // A block of 8 KiB has the entries of 256 sessions, and the one before it is not seen either.
  t.ok(deleted >= 600 - 256 - 64 && deleted < 600, `${deleted} of 600`)
})

test('what cannot be read can be ended, and replaced', async (t) => {
  const records = someRecords(200)
  const path = await filledFolder(t, [records])
  const victim = records[100] as SessionRecord
  await flipBlockOf(path, victim.handle, 'record')
  const { store } = await openStore(t, path)
  const [first = '', second = ''] = await unreadableOf(store, records)
  await t.rejects(Promise.resolve(store.loadByHandle(first)), DAMAGED)
  await store.discard?.(first, null)
  t.equal(await store.loadByHandle(first), null)
  const fresh = records.find(({ handle }) => handle === second) as SessionRecord
  await store.putRecords([fresh])
  t.same(plain((await store.read(second)) as SessionRecord), plain(fresh))
})

test('what replaces a session that cannot be read leaves nothing of it behind', async (t) => {
  const records = someRecords(200)
  for (const record of records) {
    for (const key of ['2', 'kept', 'gone']) record.apply(key, JSON.stringify(key.repeat(3000)))
  }
  const path = await filledFolder(t, [records])
  await flipBlockOf(path, (records[100] as SessionRecord).handle, 'record')
  const { store } = await openStore(t, path)
  const lost = await unreadableOf(store, records)
  t.ok(lost.size > 0)
  const replacing = records.filter(({ handle }) => lost.has(handle))
  for (const record of replacing) record.apply('gone', undefined)
  await store.putRecords(replacing)
  for (const record of replacing) {
    t.same(plain((await store.read(record.handle)) as SessionRecord), plain(record))
  }
  await store.close()
  const { db, close } = await openReadOnly(path, 'session')
  const found = await verify(db).finally(close)
  t.match(found, { parts: 3 * 200 - lost.size, kinds: { 'stray-part': 0, 'corrupt-record': 0 } })
})

test('verify looks at everything in spite of damage', async (t) => {
  const records = someRecords(600)
  const sound = await filledFolder(t, [records])
  const path = await damaged(t, sound, (records[300] as SessionRecord).handle, 'record')
  const { store } = await openStore(t, path, { readOnly: true })
  const lost = await unreadableOf(store, records)
  const { db, close } = await openReadOnly(path, 'session')
  const found = await verify(db).finally(close)
  t.match(found, {
    expiryEntries: 10,
    problems: lost.size + 1,
    kinds: { unreadable: lost.size + 1, 'stray-expiry-entry': 0 }
  })
})

test('verify does not call a session unfiled whose entry may lie in a damaged block', async (t) => {
  const records = someRecords(600)
  const path = await filledFolder(t, [records])
  await flipBlockOf(path, (records[300] as SessionRecord).handle, 'expiry')
  const { db, close } = await openReadOnly(path, 'session')
  const found = await verify(db).finally(close)
  t.ok(found.expiryEntries < 10)
  t.match(found, { problems: 1, kinds: { unreadable: 1 } })
})

test('a backup of a damaged database fails, and leaves an earlier one as it was', async (t) => {
  const records = someRecords(600)
  const path = await filledFolder(t, [records])
  const backup = join(await temporaryFolder(t), 'backup')
  const { store } = await openStore(t, path)
  await store.backup?.(backup)
  await flipBlockOf(path, (records[300] as SessionRecord).handle, 'record')
  await store.putRecords([records[0] as SessionRecord])
  await t.rejects(async () => store.backup?.(backup), DAMAGED)
  const restored = join(await temporaryFolder(t), 'restored')
  await restoreBackup(backup, restored)
  const after = await openStore(t, restored, { readOnly: true })
  t.same(await contents(after.store), records.map(plain))

  await withDatabase(backup, async () => {})
  await flipBlockOf(backup, (records[300] as SessionRecord).handle, 'record')
  await t.rejects(restoreBackup(backup, `${restored} again`), {
    code: 'SLED_SESSION_BACKUP_UNUSABLE',
    message: /is damaged/
  })
})

test('once compaction meets a damaged block: reads go on, writes say what to do, the log says it once', async (t) => {
  const records = someRecords(600)
  const path = await filledFolder(t, [records])
  const { store, lines } = await openStore(t, path)
  await flipBlockOf(path, (records[300] as SessionRecord).handle, 'record')
  const lost = await unreadableOf(store, records)
  const errors: unknown[] = []
  const gaveUp = (): boolean => lines.some(({ message }) => /takes no more writes/.test(message))
  // Each flush is a file; RocksDB compacts them when there are four. Then it is opened anew once,
  // which is over when the next compaction has met the block as well.
  for (let round = 0; round < 2000 && !gaveUp(); round++) {
    await store.putRecords(someRecords(100)).catch((error: unknown) => errors.push(error))
    if (errors.length > 0) await new Promise((resolve) => setTimeout(resolve, 20))
  }
  t.ok(gaveUp(), 'writes fail for good')
  await t.rejects(store.putRecords(someRecords(100)), DAMAGED)
  for (const error of errors) t.match(error, { statusCode: 503 })
  const healthy = records.filter(({ handle }) => !lost.has(handle))
  for (const { handle } of healthy.slice(0, 20)) t.ok(await store.read(handle))
  const messages = lines.map(({ message }) => message)
  t.equal(new Set(messages).size, messages.length, 'nothing is said twice')
  t.equal(messages.filter((message) => /takes no more writes/.test(message)).length, 1)
})
