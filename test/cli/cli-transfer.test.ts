import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createClient } from 'redis'
import { test } from 'tap'
import { openSessionStore, type SessionRecord } from '../../lib/index.js'
import { RedisStore } from '../../lib/redis.js'
import { startRedis } from '../../scripts/servers/redis.js'
import { temporaryFolder } from '../support/app.js'
import { contentsOf, createDatabase, json, runCommand } from '../support/command.js'
import { needs } from '../support/needs.js'
import { contents, someRecord } from '../support/sessions.js'

test('export, import, backup, restore and copy each keep everything', async (t) => {
  const { folder, path } = await createDatabase(t)
  const before = await contentsOf(path)
  const at = (name: string): string => join(folder, name)
  const file = at('sessions é.ndjson')
  t.same(await json(t, 'export', path, '--output', file), { sessions: 40, unreadable: 0, file })
  t.equal((await stat(file)).mode & 0o777, 0o600)
  t.match(await runCommand(['export', path, '--output', file]), { code: 1, stderr: /exists/ })
  t.equal((await readFile(file, 'utf8')).split('\n').length, 43, 'it is left as it was')
  t.same(await json(t, 'import', at('a'), file), { imported: 40, expired: 0 })
  t.same(await contentsOf(at('a')), before)

  const piped = await runCommand(['export', path])
  const { code, stdout } = await runCommand(['import', at('b')], { input: piped.stdout })
  t.match([code, stdout], [0, /40 sessions imported/])
  t.same(await contentsOf(at('b')), before)

  t.match(await json(t, 'backup', path, at('c c')), { written: 71, deleted: 0 })
  t.match(await json(t, 'backup', path, at('c c')), { entries: 71, written: 0 })
  t.match(await json(t, 'verify', at('c c')), { problems: 0, records: 40 })
  t.match(await json(t, 'restore', at('c c'), at('d')), { entries: 71 })
  t.same(await contentsOf(at('d')), before)
  t.match(await runCommand(['restore', at('c c'), at('d')]), { code: 1, stderr: /not empty/ })

  const same = { deleted: 0, others: 0, different: 0, newer: 0, unreadable: 0 }
  const copied = { sessions: 40, copied: 40, ...same }
  t.same(await json(t, 'copy', '--from', path, '--to', at('e')), copied)
  t.same(await json(t, 'copy', '--from', path, '--to', at('e')), { ...copied, copied: 0 })
  t.same(await contentsOf(at('e')), before)
})

test('sessions go to a Redis and back', needs('redis-server'), async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { folder, path } = await createDatabase(t)
  const before = await contentsOf(path)
  const copied = {
    sessions: 40,
    copied: 40,
    deleted: 0,
    others: 0,
    different: 0,
    newer: 0,
    unreadable: 0
  }
  t.same(await json(t, 'copy', '--from', path, '--to', redis.url), copied)
  t.same(await json(t, 'copy', '--from', path, '--to', redis.url), { ...copied, copied: 0 })
  t.same(await json(t, 'copy', '--from', redis.url, '--to', join(folder, 'back')), copied)
  t.same(await contentsOf(join(folder, 'back')), before)
  await redis.stop()
  const gone = await runCommand(['copy', '--from', path, '--to', redis.url])
  t.match(gone, { code: 1, stderr: /could not reach Redis/ })
  const other = await runCommand(['copy', '--from', path, '--to', 'http://x'])
  t.match(other, { code: 2, stderr: /redis:\/\// })
})

test('what ended between two copies is deleted by a mirror, there and on the way back', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { path } = await createDatabase(t)
  const there = ['copy', '--from', path, '--to', redis.url]
  t.match(await runCommand(there), { code: 0, stdout: /both hold the same sessions/ })
  const ended = (await contentsOf(path))[7] as { handle: string; principal: string }
  t.match(await json(t, 'revoke', path, ended.handle), { revoked: 1 })

  const plain = await runCommand(there)
  t.match(plain, { code: 4, stdout: /the two differ\nonly in the target.*: 1\. .*--mirror/ })
  t.notMatch(plain.stdout, /the same sessions/)
  const mirrored = await runCommand([...there, '--mirror'])
  t.match(mirrored, { code: 0, stdout: /no longer has them: 1\n.*both hold the same/ })

  const client = createClient({ url: redis.url })
  await client.connect()
  t.teardown(() => client.destroy())
  const store = new RedisStore({ client })
  await store.open({ now: Date.now, log: { debug() {}, info() {}, warn() {}, error() {} } })
  const [last] = (await contentsOf(path)) as [{ handle: string }]
  await store.destroy((await store.loadByHandle(last.handle)) as SessionRecord)
  const later = someRecord(1, Date.now() + 10_000)
  await store.putRecords([later])

  const wrong = await runCommand([...there, '--mirror'])
  t.match(wrong, { code: 4, stdout: /newer in the target, of these: 1\..*--overwrite-newer/ })
  t.ok(await store.read(later.handle), 'the wrong direction loses nobody')
  const back = ['copy', '--from', redis.url, '--to', path, '--mirror']
  await store.destroy((await store.loadByHandle(last.handle)) as SessionRecord)
  t.match(await runCommand(back), { code: 0, stdout: /no longer has them: 1\n/ })
  t.same(await contentsOf(path), await contents(store))
  await store.destroy((await store.loadByHandle(later.handle)) as SessionRecord)
  t.match(await runCommand([...there, '--mirror']), { code: 0, stdout: /copied: 1\n/ })
  t.same(await contentsOf(path), await contents(store))
})

test('another column family', async (t) => {
  const path = join(await temporaryFolder(t), 'storage')
  const store = await openSessionStore(path, { columnFamily: 'logins' })
  await store.putRecords([someRecord(0, Date.now())])
  await store.close()
  t.match(await runCommand(['stats', path]), { code: 1, stderr: /no column family "session"/ })
  t.match(await json(t, 'stats', path, '--column-family', 'logins'), { sessions: 1 })
})

test('what is not there is not made', async (t) => {
  const path = join(await temporaryFolder(t), 'nothing')
  for (const name of ['stats', 'list', 'export', 'verify', 'reap']) {
    t.match(await runCommand([name, path]), { code: 1, stdout: '', stderr: /no database/ }, name)
  }
  t.match(await runCommand(['revoke', path, 'A'.repeat(43)]), { code: 1 })
  await t.rejects(stat(path))
})
