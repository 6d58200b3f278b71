import { type Test, test } from 'tap'
import { expiryKey, META_KEY, principalKey, recordKey } from '../../../lib/store/format/keys.js'
import type { RocksDatabase } from '../../../lib/store/rocksdb/engine/binding.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import type { Verification } from '../../../lib/store/verification.js'
import { addCounter, cookieOf, createApp, listen, temporaryFolder } from '../../support/app.js'
import { openApplicationDatabase, putRaw, withDatabase } from '../../support/rocksdb.js'

const EMPTY = Buffer.alloc(0)

/** A database with some sessions, two of them ann's, and the handle of one of these. */
async function filledDatabase(t: Test): Promise<{ path: string; handle: string }> {
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path })
  addCounter(app)
  app.get('/login', async (request) => {
    await request.session.setPrincipal('ann')
    return request.session.handle
  })
  const url = await listen(app)
  for (let visitor = 0; visitor < 70; visitor++) await fetch(url)
  let handle = ''
  for (let device = 0; device < 2; device++) {
    const cookie = cookieOf(await fetch(url)) ?? ''
    handle = await (await fetch(`${url}/login`, { headers: { cookie } })).text()
  }
  await app.close()
  return { path, handle }
}

test('a sound store has no problems, and each thing in it is counted', async (t) => {
  const { path } = await filledDatabase(t)
  let calls = 0
  const found = await withDatabase(path, (db) => verify(db, () => calls++))
  t.same(found, {
    format: 2,
    records: 72,
    parts: 0,
    expiryEntries: 72,
    principalEntries: 2,
    quarantined: 0,
    problems: 0,
    kinds: found.kinds,
    listed: []
  })
  t.ok(calls > 3, 'it reports progress')
})

test('each kind of damage is found and named by its short handle alone', async (t) => {
  const { path, handle } = await filledDatabase(t)
  const key = recordKey(handle)
  const stray = Buffer.alloc(32, 7).toString('base64url')
  const damage: [string, (db: RocksDatabase, bytes: Buffer) => [Buffer, Buffer | null]][] = [
    ['missing-expiry-entry', (_, bytes) => [expiryKey(bytes.readDoubleBE(26), handle), null]],
    ['missing-principal-entry', () => [principalKey('ann', handle), null]],
    ['stray-expiry-entry', () => [expiryKey(5, stray), EMPTY]],
    ['stray-expiry-entry', () => [expiryKey(5, handle), EMPTY]],
    ['stray-principal-entry', () => [principalKey('ann', stray), EMPTY]],
    ['stray-principal-entry', () => [principalKey('bob', handle), EMPTY]],
    ['unknown-key', () => [Buffer.from([9, 9]), EMPTY]],
    ['unknown-key', () => [Buffer.from([1, 2, 3]), EMPTY]],
    ['corrupt-record', (_, bytes) => [key, Buffer.concat([bytes, Buffer.from([0])])]],
    ['format', () => [META_KEY, Buffer.from('{')]],
    ['format', () => [META_KEY, null]]
  ]
  await withDatabase(path, async (db) => {
    const bytes = (await db.get(key)) ?? EMPTY
    for (const [kind, where] of damage) {
      const [at, value] = where(db, bytes)
      const before = await db.get(at)
      await putRaw(db, at, value)
      const found = await verify(db)
      t.same(
        found.listed.map((problem) => problem.kind),
        [kind]
      )
      t.equal(found.problems, 1)
      const { session } = found.listed[0] as Verification['listed'][number]
      t.ok(session === null || [handle.slice(0, 8), stray.slice(0, 8)].includes(session))
      t.notMatch(JSON.stringify(found), /counter|ann/)
      await putRaw(db, at, before)
    }
    t.equal((await verify(db)).problems, 0)
  })
})

test('a format newer than this version is reported, and nothing else is judged by it', async (t) => {
  const { path } = await filledDatabase(t)
  const found = await withDatabase(path, async (db) => {
    await putRaw(db, META_KEY, Buffer.from('{"format":99}'))
    return verify(db)
  })
  t.match(found, { format: 99, records: 0, problems: 1, listed: [{ kind: 'format' }] })
})

test('a quarantined record is counted, and what still points to it is no problem', async (t) => {
  const { path, handle } = await filledDatabase(t)
  await withDatabase(path, (db) => putRaw(db, recordKey(handle), Buffer.from('torn')))
  const app = await createApp(t, { path })
  t.equal(await app.sessions.get(handle), null)
  await app.close()
  const found = await withDatabase(path, (db) => verify(db))
  t.match(found, { records: 71, expiryEntries: 72, quarantined: 1, problems: 0 })
})

test('no more problems are listed than a person can read, but all are counted', async (t) => {
  const found = await withDatabase(await temporaryFolder(t), async (db) => {
    const batch = db.write({ autoDestroy: true })
    batch.tryPut(META_KEY, Buffer.from('{"format":1}'))
    for (let n = 0; n < 1000; n++) batch.tryPut(Buffer.from(`unknown ${n}`), EMPTY)
    await batch.flush()
    return verify(db)
  })
  t.equal(found.problems, 1000)
  t.equal(found.listed.length, 100)
})

test('it sees one moment, whatever is written meanwhile', async (t) => {
  const { db } = await openApplicationDatabase(await temporaryFolder(t))
  const app = await createApp(t, { db })
  app.addHook('onClose', () => db.close())
  app.get('/', async (request) => {
    request.session.set('counter', 1)
    return request.session.setPrincipal('ann')
  })
  app.get('/out', async (request) => request.session.destroy())
  const url = await listen(app)
  let busy = true
  const working = (async () => {
    while (busy) {
      const cookie = cookieOf(await fetch(url)) ?? ''
      await fetch(`${url}/out`, { headers: { cookie } })
    }
  })()
  for (let look = 0; look < 50; look++) {
    t.equal((await verify(db.columnFamily('session'))).problems, 0)
  }
  busy = false
  await working
})
