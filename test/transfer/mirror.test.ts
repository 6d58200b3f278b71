import { type Test, test } from 'tap'
import {
  copySessions,
  MemoryStore,
  openSessionStore,
  type SessionRecord,
  type SessionStore
} from '../../lib/index.js'
import { recordKey } from '../../lib/store/format/keys.js'
import { handlesOf } from '../../lib/tools/conformance/harness.js'
import { cookieOf, createApp, listen, temporaryFolder } from '../support/app.js'
import { putRaw, withDatabase } from '../support/rocksdb.js'
import { contents, someRecord } from '../support/sessions.js'

const mirror = true
const SAME = { others: 0, different: 0, newer: 0, unreadable: 0 }
const START = Date.now()

async function memory(): Promise<MemoryStore> {
  const store = new MemoryStore()
  await store.open({ now: Date.now, log: { debug() {}, info() {}, warn() {}, error() {} } })
  return store
}

async function rocks(t: Test): Promise<SessionStore> {
  const store = await openSessionStore(await temporaryFolder(t), { durability: 'process' })
  t.teardown(() => store.close())
  return store
}

/** Sessions that were last seen before START. */
async function fill(store: SessionStore, count: number): Promise<SessionRecord[]> {
  const records = Array.from({ length: count }, (_, at) => someRecord(at, START))
  await store.putRecords(records)
  return records
}

async function end(store: SessionStore, ...records: (SessionRecord | undefined)[]): Promise<void> {
  for (const record of records) {
    const loaded = await store.loadByHandle(record?.handle ?? '')
    if (loaded === null) throw new Error('there is no such session')
    await store.destroy(loaded)
  }
}

/** As a visit of a session's owner changes it. */
async function visit(store: SessionStore, record: SessionRecord | undefined, at: number) {
  const loaded = await store.loadByHandle(record?.handle ?? '')
  if (loaded === null) throw new Error('there is no such session')
  loaded.lastSeenAt = at
  loaded.apply('counter', '1000')
  await store.save(loaded, new Map([['counter', '1000']]))
}

test('logouts between two copies hold on the new server', async (t) => {
  const folder = await temporaryFolder(t)
  const old = await createApp(t, { path: folder })
  old.get('/login', async ({ session }) => session.setPrincipal('ann'))
  old.get('/logout', async ({ session }) => session.destroy())
  const url = await listen(old)
  const login = async (): Promise<string> => cookieOf(await fetch(`${url}/login`)) ?? ''
  const [first, second] = [await login(), await login()]

  const to = await memory()
  const copy = async (options = {}) => {
    const from = await openSessionStore(folder, { readOnly: true })
    return copySessions(from, to, options).finally(() => from.close())
  }
  t.match(await copy(), { sessions: 2, copied: 2 })
  await fetch(`${url}/logout`, { headers: { cookie: first } })
  await old.sessions.revokeAll('ann')
  t.match(
    await copy(),
    { sessions: 0, deleted: 0, others: 2, newer: 0, unreadable: 0 },
    'they are not the same'
  )
  t.same(await copy({ mirror }), { sessions: 0, copied: 0, deleted: 2, ...SAME })

  const app = await createApp(t, { store: to })
  app.get('/', async ({ session }) => ({ principal: session.principal }))
  for (const cookie of [first, second]) {
    const { body } = await app.inject({ url: '/', headers: { cookie } })
    t.same(JSON.parse(body), { principal: null })
  }
})

for (const open of [rocks, memory]) {
  test(`a mirror in ${open.name} holds the same, however much has ended`, async (t) => {
    const [from, to] = [await rocks(t), await open(t)]
    const records = await fill(from, 600)
    t.match(await copySessions(from, to), { copied: 600, ...SAME })
    await end(from, ...records.slice(0, 300))
    const added = await fill(from, 10)
    t.same(await copySessions(from, to, { mirror }), {
      ...SAME,
      sessions: 310,
      copied: 10,
      deleted: 300
    })
    t.same(await contents(to), await contents(from))
    t.same(
      (await handlesOf(to, 'user 1')).sort(),
      (await handlesOf(from, 'user 1')).sort(),
      'no index knows what has ended'
    )
    await end(from, ...records.slice(300), ...added)
    t.match(await copySessions(from, to, { mirror }), { sessions: 0, deleted: 310, ...SAME })
    t.same(await contents(to), [])
  })
}

test('what has come or been used in the target since is left alone, unless it is given up', async (t) => {
  const [from, to] = [await rocks(t), await rocks(t)]
  const [ended, used, both] = await fill(from, 4)
  await copySessions(from, to)
  await end(from, ended, used)
  const later = Date.now() + 1000
  await visit(to, used, later)
  await visit(to, both, later)
  const own = someRecord(1, later + 3000)
  await to.putRecords([own])

  const left = { others: 2, different: 1, newer: 3, unreadable: 0 }
  const kept = await copySessions(from, to, { mirror })
  t.same(kept, { sessions: 2, copied: 0, deleted: 1, ...left })
  t.equal((await to.read(both?.handle ?? ''))?.data.get('counter'), '1000')
  t.same(await copySessions(from, to, { mirror }), { ...kept, deleted: 0 }, 'nor the next time')
  t.same(await copySessions(from, to, { mirror, overwriteNewer: true }), {
    ...SAME,
    sessions: 2,
    copied: 1,
    deleted: 2
  })
  t.same(await contents(to), await contents(from))
})

test('the way back deletes what has ended there, and a wrong turn nothing', async (t) => {
  const [rocksdb, redis] = [await rocks(t), await memory()]
  const [ended, used] = await fill(rocksdb, 5)
  await copySessions(rocksdb, redis)
  // Days later: the new servers have been in use, and the folder has not.
  const later = Date.now() + 86_400_000
  await end(redis, ended)
  await visit(redis, used, later)
  const login = someRecord(1, later, 2 * 86_400_000)
  await redis.putRecords([login])

  const wrong = await copySessions(rocksdb, redis, { mirror })
  t.match(wrong, { copied: 1, deleted: 0, others: 1, different: 1, newer: 2 })
  await end(redis, ended)
  const back = await copySessions(redis, rocksdb, { mirror })
  t.same(back, { sessions: 5, copied: 2, deleted: 1, ...SAME })
  t.same(await contents(rocksdb), await contents(redis))
})

test('a target that was never a copy keeps its own', async (t) => {
  const [from, to] = [await memory(), await memory()]
  await fill(from, 3)
  const [own] = await fill(to, 1)
  const result = {
    sessions: 3,
    copied: 3,
    deleted: 0,
    others: 1,
    different: 0,
    newer: 1,
    unreadable: 0
  }
  t.same(await copySessions(from, to, { mirror }), result)
  t.same(await copySessions(from, to, { mirror }), { ...result, copied: 0 })
  t.ok(await to.read(own?.handle ?? ''))

  const without = await memory()
  Object.assign(without, { noteCopy: undefined, lastCopyAt: undefined })
  await copySessions(from, without)
  t.match(await copySessions(await memory(), without, { mirror }), { deleted: 0, newer: 3 })
})

test('what is damaged in the source is no session that has ended', async (t) => {
  const folder = await temporaryFolder(t)
  const to = await memory()
  const source = await openSessionStore(folder)
  const [damaged] = await fill(source, 3)
  await copySessions(source, to)
  await source.close()
  const key = recordKey(damaged?.handle ?? '')
  await withDatabase(folder, (db) => putRaw(db, key, Buffer.from('damaged')))
  const from = await openSessionStore(folder, { readOnly: true })
  t.teardown(() => from.close())
  t.match(await copySessions(from, to, { mirror }), { sessions: 2, deleted: 0, others: 1 })
  t.ok(await to.read(damaged?.handle ?? ''))
})

test('a target that cannot delete fails the copy', async (t) => {
  const [from, to] = [await memory(), await memory()]
  await fill(from, 3)
  await copySessions(from, to)
  to.destroy = async () => {
    throw new Error('disk full')
  }
  await t.rejects(copySessions(await memory(), to, { mirror }), {
    code: 'SLED_SESSION_STORE_UNAVAILABLE'
  })
})
