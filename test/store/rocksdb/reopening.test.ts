import { test } from 'tap'
import { openDatabase } from '../../../lib/store/rocksdb/engine/database.js'
import type { LiveRecord } from '../../../lib/store/rocksdb/live-record.js'
import { RocksDBStore } from '../../../lib/store/rocksdb/rocksdb-store.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { settles } from '../../../scripts/servers/until.js'
import { TestClock, temporaryFolder } from '../../support/app.js'
import { Gate } from '../../support/gate.js'
import { plain, someRecord } from '../../support/sessions.js'

type Five = [LiveRecord, LiveRecord, LiveRecord, LiveRecord, LiveRecord]

test('writes that come while the database is opened anew fail, and what they were to change is read anew', async (t) => {
  const { now } = new TestClock()
  const connection = await openDatabase(await temporaryFolder(t), 'session', 1 << 20)
  const [mayOpen, opened] = [new Gate(), new Gate()]
  let reopening = false
  const { reopen } = connection
  connection.reopen = async () => {
    reopening = true
    await mayOpen.opened
    await reopen?.()
    opened.open()
  }
  const store = new RocksDBStore({ connect: async () => connection, cacheBytes: 1 << 20 })
  await store.open({ now, log: { debug() {}, info() {}, warn() {}, error() {} } })
  t.teardown(() => store.close())

  const live = Array.from({ length: 6 }, (_, number) => {
    const { handle, createdAt, lastSeenAt, expiresAt } = someRecord(number, now())
    return store.create({ handle, createdAt, lastSeenAt, expiresAt })
  })
  await Promise.all(live.map((record) => store.save(record, null)))
  const before = live.map(plain)
  const [first, changed, ended, renewed, replaced] = live as Five
  const start = { createdAt: now(), lastSeenAt: now(), expiresAt: now() + 1000 }
  const created = store.create({ ...start, handle: someRecord(0, now()).handle })
  const fresh = store.create({ ...start, handle: someRecord(0, now()).handle })

  const unavailable = { code: 'SLED_SESSION_STORE_UNAVAILABLE' }
  // A write that fails has it opened anew.
  await connection.db.close()
  await t.rejects(store.save(first, null), unavailable)
  await settles(() => reopening)
  changed.apply('counter', '7')
  const copy = replaced.copy()
  copy.apply('counter', '7')
  await Promise.all([
    t.rejects(store.save(changed, null), unavailable),
    t.rejects(store.save(created, null), unavailable),
    t.rejects(store.destroy(ended), unavailable),
    t.rejects(store.replace(renewed, fresh), unavailable),
    t.rejects(store.putRecords([copy]), unavailable)
  ])
  mayOpen.open()
  await opened.opened

  // Who asks for a session whose write never ends would keep this process from ending too.
  const { cache } = await store.stats()
  if (!t.equal(cache?.records, 1, 'all but the one that nobody has written')) return
  const found = await Promise.all(live.map(({ handle }) => store.loadByHandle(handle)))
  t.same(
    found.map((record) => record && plain(record)),
    before
  )
  for (const { handle } of [created, fresh]) t.equal(await store.loadByHandle(handle), null)
  await Promise.all(found.map((record) => record && store.save(record, null)))
  t.match(await verify(connection.db), { problems: 0, records: live.length })
})
