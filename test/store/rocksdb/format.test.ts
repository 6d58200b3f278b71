import { readdir } from 'node:fs/promises'
import Fastify from 'fastify'
import { type Test, test } from 'tap'
import { type Session, sledSession } from '../../../lib/index.js'
import { META_KEY, recordKey } from '../../../lib/store/format/keys.js'
import { openDatabase, openReadOnly } from '../../../lib/store/rocksdb/engine/database.js'
import { upgradeFormat } from '../../../lib/store/rocksdb/format/migrations.js'
import { RocksDBStore } from '../../../lib/store/rocksdb/rocksdb-store.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { createApp, TestClock, temporaryFolder } from '../../support/app.js'
import { startChild } from '../../support/child.js'
import { EVERY_VALUE, FIXTURE_TIME } from '../../support/every-value.js'
import { formatFixture } from '../../support/format-fixture.js'
import { countingMigration, TEST_LOG } from '../../support/migration.js'
import {
  countKind,
  openApplicationDatabase,
  putRaw,
  readDatabase,
  withDatabase
} from '../../support/rocksdb.js'

test('a database of format 1 becomes one of format 2 by one write, and no other entry changes', async (t) => {
  const path = await formatFixture(t, 1)
  const before = await readDatabase(path)
  const { db, traffic } = await openApplicationDatabase(path)
  traffic.failing = 'write'
  await t.rejects(createApp(t, { db }), { code: 'SLED_SESSION_DATABASE_OPEN' })
  traffic.failing = null
  const { writes } = traffic
  const app = await createApp(t, { db })
  t.equal(traffic.writes - writes, 1)
  await app.close()
  await db.close()
  const [meta, ...entries] = await readDatabase(path)
  t.match(JSON.parse(String(meta?.[1])), { format: 2, migrated: [{ to: 2 }] })
  t.same(entries, before.slice(1))
  t.equal((await withDatabase(path, verify)).problems, 0)

  const again = await createApp(t, { path, now: () => FIXTURE_TIME + 1e12 })
  t.equal(await again.sessions.deleteExpired(), 4)
  await again.close()
  t.equal(countKind(await readDatabase(path), 2), 0, 'its expiry index is understood')
})

test('a database of format 1 opens, and each kind of value, expiry and entry is there', async (t) => {
  const path = await formatFixture(t, 1)
  t.equal(countKind(await readDatabase(path), 4), 1, 'the quarantined record too')
  const clock = new TestClock()
  clock.time = FIXTURE_TIME
  const app = await createApp(t, { path, now: clock.now })
  const load = async (id: string): Promise<Session> => {
    const session = await app.sessions.load(`id=${id}`)
    if (session === null) throw new Error('it is gone')
    return session
  }
  const session = await load('uXnXR9o_nUc9cgzk1FBewez_vNSXfKtrgPZ2ODJssqU')
  const values = Object.keys(EVERY_VALUE).map((key) => [key, session.get(key)])
  t.strictSame(Object.fromEntries(values), EVERY_VALUE)
  t.equal(session.principal, 'Zoë')
  t.match(await app.sessions.list('Zoë'), [
    { createdAt: new Date(FIXTURE_TIME), metadata: { device: 'phone' } }
  ])
  t.match(await load('5ik4slLRvgso30xlqhmzF-0PLw0Rh-vJqTC-o8u9J0Y'), {
    expiry: { kind: 'session-end' }
  })
  t.match(await load('qsf3XKVaUP6aaagOI4WGY_IgLV0ob5DFYMS4pbq3QZo'), {
    expiry: { kind: 'inactivity', milliseconds: 172_800_000 }
  })
  t.match(await load('QZyrAB8A42pHaw1JcvW0RDN6URIrUYvKV_SLjSUJ6PQ'), {
    expiry: { kind: 'date-time', at: FIXTURE_TIME + 1000 }
  })
  t.equal(await app.sessions.count(), 4)
  clock.advance({ seconds: 1 })
  t.equal(await app.sessions.deleteExpired(), 1, 'the expiry index agrees')
})

test('a database of format 1 becomes one of the present format, and is written on', async (t) => {
  const path = await formatFixture(t, 1)
  const cookie = 'id=uXnXR9o_nUc9cgzk1FBewez_vNSXfKtrgPZ2ODJssqU'
  const big = 'x'.repeat(5000)
  const expected = { ...EVERY_VALUE, big }
  for (const round of [1, 2]) {
    const app = await createApp(t, { path, now: () => FIXTURE_TIME })
    const session = (await app.sessions.load(cookie)) as Session
    if (round === 1) session.set('big', big)
    await session.save()
    const values = Object.keys(expected).map((key) => [key, session.get(key)])
    t.strictSame(Object.fromEntries(values), expected)
    t.equal(await app.sessions.count(), 4)
    await app.close()
  }
  const entries = await readDatabase(path)
  t.match(JSON.parse(String(entries[0]?.[1])), { format: 2, migrated: [{ to: 2 }] })
  t.equal(countKind(entries, 7), 1, 'a large value is kept apart')
  t.match(await withDatabase(path, (db) => verify(db)), { problems: 0, records: 4, quarantined: 1 })
})

test('whoever only looks sees a database of format 1, or a backup of one, and changes nothing', async (t) => {
  const copy = { kind: 'backup', complete: true, startedAt: '', completedAt: '' }
  for (const meta of [{ format: 1 }, { format: 1, copy }]) {
    const path = await formatFixture(t, 1)
    await withDatabase(path, (db) => putRaw(db, META_KEY, Buffer.from(JSON.stringify(meta))))
    const before = await readDatabase(path)
    const store = new RocksDBStore({ connect: () => openReadOnly(path, 'session'), cacheBytes: 1 })
    await store.open({ now: () => FIXTURE_TIME, log: TEST_LOG })
    const principals: (string | null)[] = []
    for await (const { principal } of store.records()) principals.push(principal)
    await store.close()
    t.equal(principals.length, 4)
    t.ok(principals.includes('Zoë'))
    t.same(await readDatabase(path), before)
  }
})

async function refused(t: Test, path: string, code: string, message: RegExp): Promise<void> {
  const before = await readDatabase(path)
  const app = Fastify()
  await t.rejects(async () => app.register(sledSession, { path, reapInterval: false }), {
    code,
    message
  })
  await app.close()
  t.same(await readDatabase(path), before, 'nothing was changed')
}

test('a newer format is refused, and so is a backup of one; nothing is changed', async (t) => {
  const path = await formatFixture(t, 1)
  const copy = { kind: 'backup', complete: true, startedAt: '', completedAt: '' }
  for (const meta of [{ format: 3 }, { format: 3, copy }]) {
    await withDatabase(path, (db) => putRaw(db, META_KEY, Buffer.from(JSON.stringify(meta))))
    await refused(t, path, 'SLED_SESSION_FORMAT_UNSUPPORTED', /has format 3, .* up to 2/)
  }
})

test('a format entry that cannot be read is a clear error', async (t) => {
  const path = await formatFixture(t, 1)
  for (const text of ['', '{', 'null', '7', '[]', '{"format":"1"}', '{"format":0}', '\xff\xfe']) {
    await withDatabase(path, (db) => putRaw(db, META_KEY, Buffer.from(text, 'latin1')))
    await refused(t, path, 'SLED_SESSION_FORMAT_UNREADABLE', /entry that cannot be read.*verify/)
  }
})

test('a column family with keys of others is refused, not adopted', async (t) => {
  const path = await temporaryFolder(t)
  await withDatabase(path, (db) => putRaw(db, Buffer.from('order:1'), Buffer.from('{}')))
  await refused(
    t,
    path,
    'SLED_SESSION_FORMAT_UNREADABLE',
    /no format entry.*another "columnFamily"/
  )
})

test('a migration rewrites each entry once, and notes that it is done', async (t) => {
  const path = await formatFixture(t, 1)
  const before = await readDatabase(path)
  const migrate = async (migrations = [countingMigration()]): Promise<void> => {
    const connection = await openDatabase(path, 'session', 1 << 20)
    try {
      await upgradeFormat(connection, { now: () => FIXTURE_TIME, log: TEST_LOG }, migrations)
    } finally {
      await connection.close()
    }
  }
  await migrate()
  await migrate()
  const after = await readDatabase(path)
  const records = before.filter(([key]) => key[0] === 1)
  t.same(
    after.filter(([key]) => key[0] === 1),
    records.map(([key, value]) => [key, Buffer.concat([value, Buffer.from([7])])])
  )
  t.match(JSON.parse(String(after[0]?.[1])), {
    format: 2,
    createdAt: '2026-01-01T00:00:00.000Z',
    migrated: [{ to: 2, at: '2026-01-01T00:00:00.000Z' }]
  })
  t.notOk(String(after[0]?.[1]).includes('migrating'))
  await t.rejects(migrate([{ ...countingMigration(), to: 1 }]), {
    code: 'SLED_SESSION_FORMAT_UNSUPPORTED'
  })
})

test('a migration that is killed goes on where it was', async (t) => {
  const path = await formatFixture(t, 1)
  const ENTRIES = 3000
  await withDatabase(path, async (db) => {
    const batch = db.write({ autoDestroy: true })
    for (let index = 0; index < ENTRIES; index++) {
      const handle = Buffer.alloc(32, index % 251)
      handle.writeUInt32BE(index * 1_000_003)
      batch.tryPut(recordKey(handle.toString('base64url')), Buffer.from([0]))
    }
    await batch.flush()
  })
  for (const KILL_AFTER of ['700', '1100', '300']) {
    const child = startChild(t, 'test/fixtures/migrate.ts', { STORAGE: path, KILL_AFTER })
    t.equal(
      await new Promise((resolve) => child.process.once('exit', (_, by) => resolve(by))),
      'SIGKILL'
    )
    const [meta] = await readDatabase(path)
    t.match(JSON.parse(String(meta?.[1])), { format: 1, migrating: { to: 2, after: String } })
  }
  const child = startChild(t, 'test/fixtures/migrate.ts', { STORAGE: path })
  const [, seen] = await child.line(/^migrated (\d+)/)
  t.ok(Number(seen) < ENTRIES, `the last run had only ${seen} left`)

  const entries = await readDatabase(path)
  t.match(JSON.parse(String(entries[0]?.[1])), { format: 2 })
  const added = entries.filter(([key]) => key[0] === 1 && key[1] !== undefined)
  t.equal(countKind(entries, 9), added.length, 'each was seen')
  t.ok(
    added.every(([, value]) => value.at(-1) === 7 && value.at(-2) !== 7),
    'and none twice'
  )
})

test('LOG.old files of earlier openings do not pile up', async (t) => {
  const path = await temporaryFolder(t)
  for (let opening = 0; opening < 8; opening++) await (await createApp(t, { path })).close()
  const logs = (await readdir(path)).filter((name) => name.startsWith('LOG.old.'))
  t.equal(logs.length, 3)
})
