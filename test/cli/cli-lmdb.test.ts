import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { startRedis } from '../../scripts/servers/redis.js'
import { temporaryFolder } from '../support/app.js'
import { startChild } from '../support/child.js'
import { contentsOf, createDatabase, json, runCommand } from '../support/command.js'
import { needs } from '../support/needs.js'

test('copy moves sessions from RocksDB to LMDB and back, and says when the two are the same', async (t) => {
  const { folder, path, records } = await createDatabase(t)
  const lmdb = join(folder, 'lmdb')
  const back = join(folder, 'back')
  t.match(await json(t, 'copy', '--from', path, '--to', lmdb, '--store', 'lmdb'), {
    sessions: records.length,
    copied: records.length,
    different: 0
  })
  t.ok((await readdir(lmdb)).includes('data.mdb'))
  t.match(await json(t, 'copy', '--from', lmdb, '--to', back), { copied: records.length })
  t.same(await contentsOf(lmdb), await contentsOf(path))
  t.same(await contentsOf(back), await contentsOf(path))
})

test('copy moves sessions between LMDB and Redis', needs('redis-server'), async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const { folder, path } = await createDatabase(t)
  const [lmdb, back] = [join(folder, 'lmdb'), join(folder, 'back')]
  await json(t, 'copy', '--from', path, '--to', lmdb, '--store', 'lmdb')
  await json(t, 'copy', '--from', lmdb, '--to', server.url)
  await json(t, 'copy', '--from', server.url, '--to', back, '--store', 'lmdb')
  t.same(await contentsOf(back), await contentsOf(path))
})

test('each command works on a folder with an LMDB database, beside a server', async (t) => {
  const { folder, path, records } = await createDatabase(t)
  const lmdb = join(folder, 'lmdb')
  await json(t, 'copy', '--from', path, '--to', lmdb, '--store', 'lmdb')
  const server = startChild(t, 'test/fixtures/lmdb-server.ts', { STORAGE: lmdb })
  const [, url = ''] = await server.line(/listening on (.*)/)
  const [first, second] = records.map(({ handle }) => handle) as [string, string]

  t.match(await json(t, 'stats', lmdb), { sessions: 40, diskBytes: Number })
  t.match(await json(t, 'show', lmdb, first), { handle: first })
  t.same(await json(t, 'revoke', lmdb, second), { revoked: 1 })
  t.match(await runCommand(['show', lmdb, second]), { code: 5 })
  t.same(await json(t, 'revoke', lmdb, '--principal', 'user 0'), { revoked: 10 })
  t.same(await json(t, 'reap', lmdb), { deleted: 0 })
  t.match(await json(t, 'verify', lmdb), { problems: 0, records: 29 })

  const file = join(folder, 'sessions.ndjson')
  t.match(await json(t, 'export', lmdb, '--output', file), { sessions: 29 })
  const imported = join(folder, 'imported')
  await json(t, 'import', imported, file, '--store', 'lmdb')
  t.same(await contentsOf(imported), await contentsOf(lmdb))

  const [backup, restored] = [join(folder, 'backup'), join(folder, 'restored')]
  for (let times = 0; times < 2; times++) await json(t, 'backup', lmdb, backup)
  t.match(await json(t, 'verify', backup), { problems: 0 })
  await json(t, 'restore', backup, restored)
  t.same(await contentsOf(restored), await contentsOf(lmdb))
  t.match(await runCommand(['restore', backup, restored]), { code: 1, stderr: /is not empty/ })
  t.match(await runCommand(['backup', lmdb, restored]), { code: 1, stderr: /holds no backup/ })

  const { findings } = await json(t, 'doctor', lmdb)
  const processes = findings.find(({ check }: { check: string }) => check === 'processes')
  if (process.platform === 'linux') {
    t.match(processes.detail, `open in process ${server.process.pid}`)
    t.match(await json(t, 'stats', lmdb), { openIn: [server.process.pid] })
  }
  t.equal((await fetch(url)).status, 200)
  t.equal(await server.stop('SIGTERM'), 0)
})

test('a database of another kind than --store says is refused, and left as it is', async (t) => {
  const { folder, path } = await createDatabase(t)
  const file = join(folder, 'sessions.ndjson')
  await json(t, 'export', path, '--output', file)
  t.match(await runCommand(['import', path, file, '--store', 'lmdb']), {
    code: 2,
    stderr: /one of RocksDB, not of LMDB/
  })
  t.match(await runCommand(['stats', path, '--store', 'nonsense']), { code: 2 })
  const empty = await temporaryFolder(t)
  t.match(await runCommand(['reap', empty, '--store', 'lmdb']), { code: 1, stderr: /no database/ })
})
