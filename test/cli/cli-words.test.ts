import { mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { StoreUnavailableError } from '../../lib/errors.js'
import { messageOf } from '../../lib/tools/cli/exit-code.js'
import { drawBar, fitLine } from '../../lib/tools/cli/progress.js'
import { temporaryFolder } from '../support/app.js'
import {
  contentsOf,
  createDatabase,
  endOf,
  fill,
  json,
  runCommand,
  startCommand
} from '../support/command.js'
import { someRecord } from '../support/sessions.js'

const RAW = /[^\P{Cc}\n]|\p{Cf}|\p{Zl}|\p{Zp}/u

test('what users chose does not reach the terminal as it is, by no way out', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'storage')
  const record = someRecord(0, Date.now())
  record.principal = 'e\u001bv\u009b31m\u202eil\u2028\u{e0001}'
  record.apply('k\u009d\u2066', '"v\u0085\u200f"')
  record.metadata = '{"agent":"\u009b2J"}'
  await fill(path, [record])
  const before = await contentsOf(path)
  for (const args of [
    ['list', path, '--json', '--data'],
    ['list', path, '--data'],
    ['show', path, record.handle, '--json', '--data'],
    ['export', path]
  ]) {
    const { code, stdout } = await runCommand(args)
    t.equal(code, 0)
    t.notMatch(stdout, RAW, String(args[0]))
  }
  const { stdout } = await runCommand(['export', path])
  await runCommand(['import', join(folder, 'copy')], { input: stdout })
  t.same(await contentsOf(join(folder, 'copy')), before, 'it means what it meant')
  for (const args of [
    ['list', 'a\u001b[2Jb'],
    ['list', 'a\u009b', '--json'],
    ['li\u001b[2J'],
    ['list', 'x', '--a\u001b']
  ]) {
    const { stderr } = await runCommand(args)
    t.ok(stderr)
    t.notMatch(stderr, RAW)
  }
})

test('a user may be called as an option is', async (t) => {
  const path = join(await temporaryFolder(t), 'storage')
  const names = ['-x', '--json', '-abcdefgh', '--version', '--help', '--']
  await fill(
    path,
    names.map((name, at) => Object.assign(someRecord(at, Date.now()), { principal: name }))
  )
  for (const name of names) {
    const { code, stdout } = await runCommand(['list', path, '--json', '--principal', name])
    t.equal(code, 0)
    t.equal(JSON.parse(stdout).principal, name)
    t.same(await json(t, 'revoke', path, '--principal', name), { revoked: 1 })
  }
})

test('an error says all that caused it, and to try again only where that helps', (t) => {
  const full = new Error('While appending to file: /x/1.log: No space left on device')
  const cause = new Error('Batch was not applied', { cause: full })
  t.equal(
    messageOf(new StoreUnavailableError('write a backup', { cause })),
    'The session store could not write a backup: Batch was not applied: While appending to file: /x/1.log: No space left on device. Make room on that disk, then run it again.'
  )
  const readOnly = new Error('While open a file: /x/LOCK: Read-only file system')
  t.match(messageOf(new Error('no', { cause: readOnly })), /EROFS/)
  t.equal(messageOf(new Error('it is: said', { cause: new Error('said') })), 'it is: said.')
  t.match(
    messageOf(new AggregateError([new Error('one'), new Error('two')], 'both')),
    'both: one: two.'
  )
  t.end()
})

test("errors name the command's own options, and help shows what works", async (t) => {
  const { path } = await createDatabase(t, 1)
  const family = await runCommand(['list', path, '--column-family', ''])
  t.match(family, { code: 2, stderr: /^sled-session: --column-family / })
  const help = await runCommand(['import', '--help'])
  t.match(help.stdout, '  $ gunzip < sessions.ndjson.gz | sled-session import ./storage')
  t.notMatch(help.stdout, 'sled-session gunzip')
})

test('an import of what is not there makes nothing', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'storage')
  t.match(await runCommand(['import', path, join(folder, 'nowhere')]), {
    code: 1,
    stderr: /ENOENT/
  })
  t.match(await runCommand(['import', path, folder]), { code: 1, stderr: /is a folder/ })
  await t.rejects(stat(path))
})

test('an import takes sessions as large as it is told', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'storage')
  const record = someRecord(0, Date.now())
  record.apply('text', JSON.stringify('x'.repeat(70_000)))
  await fill(path, [record])
  const { stdout } = await runCommand(['export', path])
  const target = join(folder, 'target')
  const refused = await runCommand(['import', target], { input: stdout })
  t.match(refused, { code: 1, stderr: /Line 2 of the import .* 65536 bytes: --max-record-size/ })
  const taken = await runCommand(['import', target, '--max-record-size', '100000'], {
    input: stdout
  })
  t.match(taken, { code: 0, stdout: /1 sessions imported/ })
  t.same(await contentsOf(target), await contentsOf(path))
})

test('only what goes on where it stopped says so', async (t) => {
  const { path } = await createDatabase(t, 5000)
  const child = startCommand(['list', path, '--data'])
  const ended = endOf(child)
  child.stdout?.once('data', () => child.kill('SIGINT'))
  const { code, stderr } = await ended
  if (code !== 0) t.match([code, stderr], [130, /^sled-session: Stopped\.\n$/])
})

test('a bar never wraps', (t) => {
  const bar = drawBar('backup', { done: 1_000_000, total: 2_000_000 })
  t.equal(fitLine(bar, 20).length, 19)
  t.equal(fitLine(bar, 200), bar)
  t.end()
})

test('doctor says what a folder is that holds no database', async (t) => {
  const folder = await temporaryFolder(t)
  t.match(await runCommand(['doctor', folder]), { code: 0, stdout: /ok +folder: empty/ })
  await mkdir(join(folder, 'etc'), { mode: 0o755 })
  await writeFile(join(folder, 'etc', 'passwd'), '')
  const { stdout } = await runCommand(['doctor', join(folder, 'etc')])
  t.match(stdout, /warning folder: holds other files and no database/)
  const { stdout: ofRoot } = await runCommand(['doctor', '/'])
  t.match(ofRoot, /no database/)
  t.notMatch(ofRoot, /chmod/)
})
