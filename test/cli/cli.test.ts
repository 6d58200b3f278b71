import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { SessionRecord } from '../../lib/index.js'
import { printable } from '../../lib/record/printable.js'
import { holdersIn } from '../../lib/store/lock-holders.js'
import { CommandError, ExitCode, exitCodeOf, messageOf } from '../../lib/tools/cli/exit-code.js'
import { bytes } from '../../lib/tools/cli/output.js'
import { temporaryFolder } from '../support/app.js'
import { contentsOf, createDatabase, fill, json, runCommand } from '../support/command.js'
import { someRecord } from '../support/sessions.js'

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
  t.match(stats, { sessions: 40, openIn: [], diskBytes: Number, engine: Object })
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
  const [record] = records as [SessionRecord]
  const { handle } = record
  const line = lines.find((session) => session.handle === handle)
  t.match(line, { principal: 'user 0', createdAt: /Z$/, expiresAt: /Z$/, bytes: record.size })
  t.same(line.keys, ['counter', '\ud800 lone "é\n', 'since', 'seen'])
  const table = await runCommand(['list', path])
  t.equal(table.stdout.split('\n').length, 42)

  const theirs = await runCommand(['list', path, '--principal', 'user 1', '--json'])
  t.equal(theirs.stdout.trimEnd().split('\n').length, 10)
  t.equal((await runCommand(['list', path, '--principal', 'nobody', '--json'])).stdout, '')

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

test('a handle may begin with a dash', async (t) => {
  const path = join(await temporaryFolder(t), 'storage')
  const now = Date.now()
  const some = someRecord(0, now)
  const handles = [`-${'A'.repeat(41)}Q`, `--json${'B'.repeat(36)}A`]
  await fill(
    path,
    handles.map((handle) => new SessionRecord({ ...some, handle }))
  )
  t.match(await json(t, 'show', path, handles[0] ?? ''), { handle: handles[0] })
  t.match(await json(t, 'show', path, '-AAAAAAA'), { handle: handles[0] })
  t.match(await json(t, 'show', path, handles[1] ?? ''), { handle: handles[1] })
  t.same(await json(t, 'revoke', path, handles[0] ?? ''), { revoked: 1 })
})

test('reap deletes what is past its time', async (t) => {
  const path = join(await temporaryFolder(t), 'storage')
  const now = Date.now()
  await fill(path, [someRecord(0, now), someRecord(1, now, -1), someRecord(2, now, -1)])
  t.same(await json(t, 'reap', path), { deleted: 2 })
  t.same(await json(t, 'reap', path), { deleted: 0 })
  t.match(await json(t, 'verify', path), { records: 1, expiryEntries: 1 })
})

test('texts for people', (t) => {
  t.same([0, 1023, 1024, 1536 * 1024].map(bytes), ['0 bytes', '1023 bytes', '1.0 KiB', '1.5 MiB'])
  t.equal(printable('é ok 日本\n\u001b\u200b\ud800'), 'é ok 日本\\n\\u001b\\u200b\\ud800')
  t.equal(exitCodeOf(new CommandError(ExitCode.NotFound, '')), 5)
  t.equal(exitCodeOf(Object.assign(new Error(), { code: 'EPIPE' })), 141)
  t.equal(exitCodeOf('thrown'), 1)
  t.equal(messageOf('thrown'), 'thrown.')
  const cause = new Error('disk full')
  const code = 'SLED_SESSION_STORE_UNAVAILABLE'
  t.equal(messageOf(Object.assign(new Error('no', { cause }), { code })), 'no: disk full.')
  t.end()
})

test('who has a database open is read from the locks of its file', (t) => {
  const locks = [
    '1: FLOCK  ADVISORY  WRITE 11 00:01:42 0 EOF',
    '2: POSIX  ADVISORY  READ 4711 00:01:42 0 0',
    '2: POSIX  ADVISORY  WRITE 4711 00:01:42 4711 4711',
    '3: POSIX  ADVISORY  WRITE 13 00:01:43 0 EOF',
    '3: -> POSIX ADVISORY WRITE 14 00:01:42 0 EOF',
    '4: POSIX  ADVISORY  WRITE 0 00:01:42 0 EOF',
    '5: POSIX  ADVISORY  WRITE 15 fd:01:42 0 EOF'
  ].join('\n')
  t.same(holdersIn(locks, 42), [15, 4711])
  t.same(holdersIn(locks, 43), [13])
  t.same(holdersIn(locks, 44), [])
  t.end()
})
