import { type Test, test } from 'tap'
import { expiryKey, META_KEY, principalKey, recordKey } from '../../../lib/store/format/keys.js'
import type { LmdbTable } from '../../../lib/store/lmdb/engine/binding.js'
import { type Database, openDatabase } from '../../../lib/store/lmdb/engine/database.js'
import { verify } from '../../../lib/store/lmdb/verify.js'
import { until } from '../../../scripts/servers/until.js'
import { openStore, storeSession, temporaryFolder } from '../../support/lmdb.js'

const EMPTY = Buffer.alloc(0)

/** A database with 70 sessions, one of them ann's, and the handle of that. */
async function filledDatabase(t: Test): Promise<{ database: Database; handle: string }> {
  const path = await temporaryFolder(t)
  const { store } = await openStore(t, { path })
  for (let visitor = 0; visitor < 69; visitor++) await storeSession(store)
  const { record, handle } = await storeSession(store)
  record.principal = 'ann'
  await store.save(record, null)
  const database = await openDatabase(path)
  t.teardown(() => database.close())
  return { database, handle }
}

/** Puts bytes where they do not belong, or takes them away; resolves to what was there. */
async function spoil(
  database: Database,
  table: LmdbTable,
  key: Buffer,
  value: Buffer | null
): Promise<Buffer | null> {
  database.refresh()
  const found = database.read(table, key)
  const before = found === null ? null : Buffer.from(found.bytes)
  if (value === null) await table.remove(key)
  else await table.put(key, value, found?.version ?? 1)
  return before
}

test('a sound store has no problems, and each thing in it is counted', async (t) => {
  const { database } = await filledDatabase(t)
  let calls = 0
  const found = await verify(database, () => calls++)
  t.match(found, {
    format: 1,
    records: 70,
    expiryEntries: 70,
    principalEntries: 1,
    quarantined: 0,
    problems: 0,
    listed: []
  })
  t.ok(calls > 3, 'it reports progress')
})

test('each kind of damage is found and named by its short handle alone', async (t) => {
  const { database, handle } = await filledDatabase(t)
  const { sessions, indexes, notes } = database
  const stray = Buffer.alloc(32, 7).toString('base64url')
  const key = recordKey(handle)
  database.refresh()
  const bytes = Buffer.from(database.read(sessions, key)?.bytes ?? EMPTY)
  const damage: [string, LmdbTable, Buffer, Buffer | null][] = [
    ['missing-expiry-entry', indexes, expiryKey(bytes.readDoubleBE(26), handle), null],
    ['missing-principal-entry', indexes, principalKey('ann', handle), null],
    ['stray-expiry-entry', indexes, expiryKey(5, stray), EMPTY],
    ['stray-expiry-entry', indexes, expiryKey(5, handle), EMPTY],
    ['stray-principal-entry', indexes, principalKey('ann', stray), EMPTY],
    ['stray-principal-entry', indexes, principalKey('bob', handle), EMPTY],
    ['unknown-key', sessions, Buffer.from([9, 9]), EMPTY],
    ['unknown-key', indexes, Buffer.from([1, 2, 3]), EMPTY],
    ['unknown-key', notes, Buffer.from([9, 9]), EMPTY],
    ['corrupt-record', sessions, key, Buffer.concat([bytes, Buffer.from([0])])],
    ['format', notes, META_KEY, Buffer.from('{')],
    ['format', notes, META_KEY, null]
  ]
  for (const [kind, table, at, value] of damage) {
    const before = await spoil(database, table, at, value)
    const found = await verify(database)
    t.same(
      found.listed.map((problem) => problem.kind),
      [kind]
    )
    t.equal(found.problems, 1)
    const session = found.listed[0]?.session ?? null
    t.ok(session === null || [handle.slice(0, 8), stray.slice(0, 8)].includes(session))
    t.notMatch(JSON.stringify(found), /counter|ann/)
    await spoil(database, table, at, before)
  }
  t.equal((await verify(database)).problems, 0)
})

test('a format newer than this version is reported, and nothing else is judged by it', async (t) => {
  const { database } = await filledDatabase(t)
  await database.notes.put(META_KEY, Buffer.from('{"format":99}'), 1)
  t.match(await verify(database), {
    format: 99,
    records: 0,
    problems: 1,
    listed: [{ kind: 'format' }]
  })
})

test('it sees one moment, whatever is written meanwhile', async (t) => {
  const path = await temporaryFolder(t)
  const { store } = await openStore(t, { path })
  const database = await openDatabase(path)
  t.teardown(() => database.close())
  let [busy, rounds] = [true, 0]
  const working = (async () => {
    for (; busy; rounds++) {
      const [{ record }] = await Promise.all([storeSession(store), storeSession(store)])
      record.principal = 'ann'
      await store.save(record, null)
      await store.destroy(record)
    }
  })()
  for (let look = 0; look < 20; look++) t.equal((await verify(database)).problems, 0)
  await until(() => rounds > 20)
  busy = false
  await working
})
