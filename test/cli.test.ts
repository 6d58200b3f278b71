import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { CommandError, ExitCode, exitCodeOf, messageOf } from '../lib/cli/exit-code.js'
import { bytes, printable } from '../lib/cli/output.js'
import { openSessionStore, type SessionRecord } from '../lib/index.js'
import { holderIn } from '../lib/store/rocksdb/lock-holder.js'
import { temporaryFolder } from './support/app.js'
import { contentsOf, createDatabase, fill, json, runCommand } from './support/command.js'
import { startRedis } from './support/redis.js'
import { someRecord } from './support/sessions.js'

const COMMANDS = ['stats', 'list', 'show', 'revoke', 'reap', 'export', 'import']
COMMANDS.push('backup', 'restore', 'verify', 'copy', 'doctor')

test('each command has help with examples, and wrong usage ends with 2', async (t) => {
  const { code, stdout } = await runCommand(['--help'])
  t.equal(code, 0)
  t.match(stdout, /Exit codes:/)
  const helps = await Promise.all(COMMANDS.map((name) => runCommand([name, '--help'])))
  for (const [at, help] of helps.entries()) {
    const name = COMMANDS[at]
    t.match(stdout, new RegExp(`\n  ${name} `))
    t.equal(help.code, 0)
    t.match(help.stdout, new RegExp(`Examples:\n  \\$ sled-session ${name} `))
    t.match(help.stdout, /--json/)
  }
  const wrong = [[], ['nonsense'], ['stats'], ['list', 'x', '--nonsense'], ['copy']]
  for (const ended of await Promise.all(wrong.map((args) => runCommand(args)))) {
    t.match(ended, { code: 2, stdout: '' })
  }
  const { version } = JSON.parse(await readFile('package.json', 'utf8'))
  t.match(await runCommand(['--version']), { code: 0, stdout: `${version}\n` })
})

test('stats tells how many there are and what they take', async (t) => {
  const { path } = await createDatabase(t)
  const stats = await json(t, 'stats', path)
  t.match(stats, { sessions: 40, heldBy: null, diskBytes: Number, engine: Object })
  t.match(await runCommand(['stats', path]), { code: 0, stdout: /sessions +about 40\n/ })
})

test('list and show keep data to themselves until they are asked', async (t) => {
  const { path, records } = await createDatabase(t)
  const listed = await runCommand(['list', path, '--json'])
  const lines = listed.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.equal(lines.length, 40)
  const [handle, bytes] = [/^.{43}$/, Number]
  t.match(lines[0], { handle, principal: /user/, createdAt: /Z$/, expiresAt: /Z$/, bytes })
  t.same(lines[0].keys, ['counter', '\ud800 lone "é\n', 'since', 'seen'])
  const table = await runCommand(['list', path])
  t.equal(table.stdout.split('\n').length, 42)

  const theirs = await runCommand(['list', path, '--principal', 'user 1', '--json'])
  t.equal(theirs.stdout.trimEnd().split('\n').length, 10)
  t.equal((await runCommand(['list', path, '--principal', 'nobody', '--json'])).stdout, '')

  const [record] = records as [SessionRecord]
  const short = record.handle.slice(0, 8)
  const shown = await runCommand(['show', path, short])
  t.match(shown.stdout, new RegExp(`handle +${record.handle}\n`))
  t.match(shown.stdout, /counter +1 bytes/)
  const values = await runCommand(['show', path, record.handle, '--data'])
  for (const { stdout } of [listed, table, theirs, shown]) t.notMatch(stdout, /secret|phone/)
  t.match(values.stdout, /secret/)
  t.match(values.stdout, /metadata +\{ agent: 'phone 0' \}/)
  const whole = await json(t, 'show', path, short, '--data')
  t.match(whole, { data: { counter: 0 }, metadata: { agent: 'phone 0' }, typed: { since: [7] } })
  const open = await runCommand(['list', path, '--data'])
  t.match(open.stdout, /secret/)

  t.match(await runCommand(['show', path, 'A'.repeat(43)]), { code: 5, stdout: '' })
  t.match(await runCommand(['show', path, '-'.repeat(8)]), { code: 2 })
  t.match(await runCommand(['show', path, 'short']), { code: 2, stderr: /at least 8/ })
})

test('what users chose does not reach the terminal as it is', async (t) => {
  const path = join(await temporaryFolder(t), 'storage')
  const record = someRecord(0, Date.now())
  record.principal = 'e\u001b[31mvil\u202e\n'
  record.apply('\u001b]0;title\u0007', '"\u009b"')
  await fill(path, [record])
  const listed = await runCommand(['list', path, '--data'])
  const shown = await runCommand(['show', path, record.handle, '--data'])
  for (const { stdout } of [listed, shown]) t.notMatch(stdout, /[^\P{Cc}\n]|\p{Cf}/u)
  t.match(listed.stdout, 'e\\u001b[31mvil\\u202e\\n')
})

test('revoke ends one session, or all of a user', async (t) => {
  const { path, records } = await createDatabase(t)
  const [first, second] = records as [SessionRecord, SessionRecord]
  t.same(await json(t, 'revoke', path, first.handle.slice(0, 10)), { revoked: 1 })
  t.match(await runCommand(['revoke', path, first.handle]), { code: 5, stderr: /no such session/ })
  const foreign = await runCommand(['revoke', path, second.handle, '--principal', 'user 0'])
  t.match(foreign, { code: 5, stderr: /That user has no such session/ })
  t.same(await json(t, 'revoke', path, second.handle, '--principal', 'user 1'), { revoked: 1 })
  t.same(await json(t, 'revoke', path, '--principal', 'user 1'), { revoked: 9 })
  t.match(await runCommand(['revoke', path]), { code: 2, stderr: /give a handle, or --principal/ })
  t.equal((await contentsOf(path)).length, 29)
  t.match(await json(t, 'verify', path), { problems: 0, records: 29 })
})

test('reap deletes what is past its time', async (t) => {
  const path = join(await temporaryFolder(t), 'storage')
  const now = Date.now()
  await fill(path, [someRecord(0, now), someRecord(1, now, -1), someRecord(2, now, -1)])
  t.same(await json(t, 'reap', path), { deleted: 2 })
  t.same(await json(t, 'reap', path), { deleted: 0 })
  t.match(await json(t, 'verify', path), { records: 1, expiryEntries: 1 })
})

test('export, import, backup, restore and copy each keep everything', async (t) => {
  const { folder, path } = await createDatabase(t)
  const before = await contentsOf(path)
  const at = (name: string): string => join(folder, name)
  const file = at('sessions é.ndjson')
  t.same(await json(t, 'export', path, '--output', file), { sessions: 40, file })
  t.equal((await stat(file)).mode & 0o777, 0o600)
  t.match(await runCommand(['export', path, '--output', file]), { code: 1, stderr: /exists/ })
  t.equal((await readFile(file, 'utf8')).split('\n').length, 43, 'it is left as it was')
  t.same(await json(t, 'import', at('a'), file), { imported: 40, expired: 0 })
  t.same(await contentsOf(at('a')), before)

  const piped = await runCommand(['export', path])
  const { code, stdout } = await runCommand(['import', at('b')], { input: piped.stdout })
  t.match([code, stdout], [0, /40 sessions imported/])
  t.same(await contentsOf(at('b')), before)

  t.match(await json(t, 'backup', path, at('c c')), { written: 110, deleted: 0 })
  t.match(await json(t, 'backup', path, at('c c')), { entries: 110, written: 0 })
  t.match(await json(t, 'verify', at('c c')), { problems: 0, records: 40 })
  t.match(await json(t, 'restore', at('c c'), at('d')), { entries: 110 })
  t.same(await contentsOf(at('d')), before)
  t.match(await runCommand(['restore', at('c c'), at('d')]), { code: 1, stderr: /not empty/ })

  const copied = { sessions: 40, copied: 40, others: 0, different: 0 }
  t.same(await json(t, 'copy', '--from', path, '--to', at('e')), copied)
  t.same(await json(t, 'copy', '--from', path, '--to', at('e')), { ...copied, copied: 0 })
  t.same(await contentsOf(at('e')), before)
})

test('sessions go to a Redis and back', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { folder, path } = await createDatabase(t)
  const before = await contentsOf(path)
  const copied = { sessions: 40, copied: 40, others: 0, different: 0 }
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

test('texts for people', (t) => {
  t.same([0, 1023, 1024, 1536 * 1024].map(bytes), ['0 bytes', '1023 bytes', '1.0 KiB', '1.5 MiB'])
  t.equal(printable('é ok 日本\n\u001b\u200b\ud800'), 'é ok 日本\\n\\u001b\\u200b\\ud800')
  t.equal(exitCodeOf(new CommandError(ExitCode.NotFound, '')), 5)
  t.equal(exitCodeOf(Object.assign(new Error(), { code: 'EPIPE' })), 141)
  t.equal(exitCodeOf('thrown'), 1)
  t.equal(messageOf('thrown'), 'thrown')
  const cause = new Error('disk full')
  const code = 'SLED_SESSION_STORE_UNAVAILABLE'
  t.equal(messageOf(Object.assign(new Error('no', { cause }), { code })), 'no (disk full)')
  t.end()
})

test('the holder of a lock is found by its file', (t) => {
  const locks = [
    '1: FLOCK  ADVISORY  WRITE 11 00:01:42 0 EOF',
    '2: POSIX  ADVISORY  READ 12 00:01:42 0 EOF',
    '3: POSIX  ADVISORY  WRITE 13 00:01:43 0 EOF',
    '3: -> POSIX ADVISORY WRITE 14 00:01:42 0 EOF',
    '4: POSIX  ADVISORY  WRITE 0 00:01:42 0 EOF',
    '5: POSIX  ADVISORY  WRITE 15 fd:01:42 0 EOF'
  ].join('\n')
  t.equal(holderIn(locks, 42), 15)
  t.equal(holderIn(locks, 43), 13)
  t.equal(holderIn(locks, 44), null)
  t.end()
})
