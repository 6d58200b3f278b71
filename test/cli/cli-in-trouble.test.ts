import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { test } from 'tap'
import { openSessionStore, type SessionRecord } from '../../lib/index.js'
import { recordKey } from '../../lib/store/format/keys.js'
import { drawBar } from '../../lib/tools/cli/progress.js'
import { temporaryFolder } from '../support/app.js'
import { startChild } from '../support/child.js'
import {
  contentsOf,
  createDatabase,
  endOf,
  fill,
  json,
  runCommand,
  startCommand
} from '../support/command.js'
import { flipBlockOf } from '../support/damage.js'
import { putRaw, withDatabase } from '../support/rocksdb.js'
import { someRecord } from '../support/sessions.js'

test('while a server holds the database it can be read, backed up and checked, not written', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'stor age')
  const server = startChild(t, 'test/fixtures/server.ts', { STORAGE: path })
  const [, url = ''] = await server.line(/listening on (.*)/)
  for (let visitor = 0; visitor < 5; visitor++) await fetch(`${url}/count`)
  const { pid } = server.process

  t.match(await json(t, 'stats', path), { sessions: 5, openIn: [pid] })
  const listed = await runCommand(['list', path, '--json'])
  t.equal(listed.stdout.trimEnd().split('\n').length, 5)
  const { handle } = JSON.parse(listed.stdout.split('\n')[0] ?? '')
  t.match(await json(t, 'show', path, handle, '--data'), { data: { counter: 1 } })
  t.match(await json(t, 'verify', path), { records: 5, problems: 0 })
  const { entries } = (await json(t, 'backup', path, join(folder, 'backup'))) as { entries: number }
  // The sessions, the format, and what they are filed under, which some may share.
  t.ok(entries >= 5 + 1 + 1 && entries <= 5 + 1 + 5, `${entries} entries`)
  t.match(await json(t, 'copy', '--from', path, '--to', join(folder, 'copy')), { copied: 5 })
  t.match(await runCommand(['doctor', path]), {
    code: 0,
    stdout: new RegExp(`open in process ${pid}\n`)
  })

  const file = join(folder, 'sessions.ndjson')
  await json(t, 'export', path, '--output', file)
  const writes = [
    ['revoke', path, handle],
    ['reap', path],
    ['import', path, file]
  ]
  writes.push(['copy', '--from', join(folder, 'copy'), '--to', path])
  for (const args of writes) {
    const held = await runCommand(args)
    t.match(held, { code: 3, stdout: '', stderr: new RegExp(`held by .*pid ${pid}`) }, args[0])
    const { error } = JSON.parse((await runCommand([...args, '--json'])).stderr)
    t.match(error, { code: 'SLED_SESSION_DATABASE_LOCKED', message: /held by/ })
  }
  t.equal((await fetch(`${url}/count`)).status, 200, 'the server goes on')
  await server.stop('SIGTERM')
  t.match(await json(t, 'verify', path), { records: 6, problems: 0 })
})

test('verify and doctor end with 4 if something is wrong', async (t) => {
  const { path, records } = await createDatabase(t)
  t.match(await runCommand(['verify', path]), {
    code: 0,
    stdout: /40 sessions.*\n.*\nno problems\n\nPROBLEMS +0\nformat +0\n/
  })
  t.match(await runCommand(['doctor', path]), { code: 0, stdout: /40 sessions/ })
  const { handle } = records[0] as SessionRecord
  await withDatabase(path, (db) => putRaw(db, recordKey(handle), Buffer.from('damaged')))
  const found = await runCommand(['verify', path])
  t.match(found, { code: 4, stdout: new RegExp(`corrupt-record ${handle.slice(0, 8)}:`) })
  t.match(await runCommand(['doctor', path]), { code: 4, stdout: /PROBLEM contents: .* problems/ })
  t.match(JSON.parse((await runCommand(['verify', path, '--json'])).stdout), { records: 40 })
  const listed = await runCommand(['list', path])
  t.match(listed, { code: 4, stderr: /cannot be read was left out/ })

  await writeFile(join(path, 'CURRENT'), 'MANIFEST-999999\n')
  t.match(await runCommand(['doctor', path]), { code: 4, stdout: /PROBLEM contents: Cannot open/ })
  t.match(await runCommand(['verify', path]), { code: 1, stderr: /Cannot open the database/ })
})

test('what lies in a damaged block is left out, named, and all else is there', async (t) => {
  const { folder, path, records } = await createDatabase(t, 400)
  await withDatabase(path, async () => {})
  const sorted = records.map(({ handle }) => Buffer.from(handle, 'base64url')).sort(Buffer.compare)
  const victim = (sorted[200] as Buffer).toString('base64url')
  await flipBlockOf(path, victim, 'record')
  const file = join(folder, 'rest.ndjson')
  const exported = await runCommand(['export', path, '--output', file, '--json'])
  t.equal(exported.code, 4)
  const { sessions, unreadable } = JSON.parse(exported.stdout)
  t.ok(unreadable > 0 && unreadable < 60, `${unreadable} of 400`)
  t.equal(sessions + unreadable, 400)
  t.match(await json(t, 'import', join(folder, 'rest'), file), { imported: sessions })
  const piped = await runCommand(['export', path])
  t.match(piped, { code: 4, stderr: new RegExp(`left out: ${unreadable};`) })
  t.match(await runCommand(['list', path]), { code: 4, stderr: /left out: / })
  const copied = await runCommand(['copy', '--from', path, '--to', join(folder, 'copy'), '--json'])
  t.equal(copied.code, 4)
  t.match(JSON.parse(copied.stdout), { copied: sessions, unreadable })
  const found = await runCommand(['verify', path])
  t.match(found, { code: 4, stdout: new RegExp(`unreadable +${unreadable + 1}\\n`) })
  t.same(await json(t, 'revoke', path, victim), { revoked: 1 })
  t.match(await runCommand(['show', path, victim]), { code: 5 })
})

test('reap deletes what it can read, and ends with 4 if that is not all', async (t) => {
  const path = join(await temporaryFolder(t), 'storage')
  const records = Array.from({ length: 400 }, (_, at) => someRecord(at, Date.now(), -1))
  await fill(path, records)
  await withDatabase(path, async () => {})
  const sorted = records.map(({ handle }) => Buffer.from(handle, 'base64url')).sort(Buffer.compare)
  await flipBlockOf(path, (sorted[200] as Buffer).toString('base64url'), 'record')
  const reaped = await runCommand(['reap', path, '--json'])
  t.equal(reaped.code, 4)
  const { deleted } = JSON.parse(reaped.stdout)
  t.ok(deleted > 340 && deleted < 400, `${deleted} of 400`)
})

test('half a backup is told in one sentence, by its mark', async (t) => {
  const { folder, path } = await createDatabase(t, 3000)
  const backup = join(folder, 'backup')
  const store = await openSessionStore(path)
  const stopping = new AbortController()
  const onProgress = () => stopping.abort(new Error('enough'))
  await t.rejects(async () => store.backup?.(backup, { signal: stopping.signal, onProgress }))
  await store.close()
  const begun = /holds a backup that was begun at .* and not finished. Run that backup again/
  t.match(await runCommand(['verify', backup]), { code: 4, stdout: '', stderr: begun })
  t.match(await runCommand(['doctor', backup]), { code: 4, stdout: begun })
  await json(t, 'backup', path, backup)
  t.match(await json(t, 'verify', backup), { problems: 0 })
})

test('doctor looks at what is not there yet', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'not', 'yet')
  t.match(await runCommand(['doctor', path]), { code: 0, stdout: /the server will make it/ })
  await writeFile(join(folder, 'file'), '')
  t.match(await runCommand(['doctor', join(folder, 'file')]), { code: 4, stdout: /is a file/ })
  const { findings } = await json(t, 'doctor', path)
  t.same(
    findings.map(({ check }: { check: string }) => check),
    ['Node', 'folder', 'disk', 'rocksdb-native']
  )
})

test('a broken import is refused with its line, and without what stands there', async (t) => {
  const { folder, path } = await createDatabase(t, 5)
  const { stdout } = await runCommand(['export', path])
  const lines = stdout.split('\n')
  lines[3] = '{"handle":"my secret"}'
  const broken = await runCommand(['import', join(folder, 'new')], { input: lines.join('\n') })
  t.match(broken, { code: 1, stderr: 'sled-session: Line 4 of the import has no handle' })
  t.notMatch(broken.stderr, /secret/)
  const binary = await runCommand(['import', join(folder, 'new')], { input: '\0\xff\n' })
  t.match(binary, { code: 1, stderr: /Line 1 of the import is no JSON/ })
  t.match(await runCommand(['import', join(folder, 'new'), 'nowhere']), { code: 1 })
})

test('a reader that has seen enough ends the command in silence', async (t) => {
  const { path } = await createDatabase(t, 2000)
  for (const args of [
    ['list', path],
    ['list', path, '--json'],
    ['export', path]
  ]) {
    const child = startCommand(args)
    const ended = endOf(child)
    child.stdout?.once('data', () => child.stdout?.destroy())
    t.match(await ended, { code: 141, stderr: '' })
  }
})

test('a signal ends long work, and it can be run again', async (t) => {
  const { folder, path } = await createDatabase(t, 300)
  const { stdout } = await runCommand(['export', path])
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143]
  ] as const) {
    const target = join(folder, signal)
    const child = startCommand(['import', target])
    const ended = endOf(child)
    child.stdin?.on('error', () => {})
    child.stdin?.write(stdout.slice(0, stdout.length - 100))
    // Once the database is there, it is at work, and waits for the rest of its input.
    for (;;) {
      if (await stat(join(target, 'CURRENT')).catch(() => null)) break
      await new Promise((resolve) => setImmediate(resolve))
    }
    child.kill(signal)
    t.match(await ended, {
      code,
      stdout: '',
      stderr: 'sled-session: Stopped. Run it again to go on.'
    })
    t.match(await json(t, 'verify', target), { problems: 0 })
    t.match(await runCommand(['import', target], { input: stdout }), { code: 0 })
    t.same(await contentsOf(target), await contentsOf(path))
  }
})

test('a backup that is killed is never taken for a whole one, and the next completes it', async (t) => {
  const { folder, path } = await createDatabase(t, 3000)
  const backup = join(folder, 'backup')
  const before = await contentsOf(path)
  for (const delay of [0, 20, 60]) {
    const child = startCommand(['backup', path, backup])
    const ended = endOf(child)
    for (;;) {
      if (await stat(join(backup, 'CURRENT')).catch(() => null)) break
      await new Promise((resolve) => setImmediate(resolve))
    }
    await setTimeout(delay)
    child.kill('SIGKILL')
    await ended
    const target = join(folder, `restored ${delay}`)
    const { code, stderr } = await runCommand(['restore', backup, target])
    if (code === 0) t.same(await contentsOf(target), before, 'it was done before the kill')
    else t.match(stderr, /not finished|is no backup|no column family/)
  }
  await json(t, 'backup', path, backup)
  t.match(await json(t, 'verify', backup), { records: 3000, problems: 0 })
  t.same(await contentsOf(backup), before)
})

test('no bar is drawn where nobody looks', async (t) => {
  const { folder, path } = await createDatabase(t)
  t.equal((await runCommand(['backup', path, join(folder, 'b')])).stderr, '')
  t.equal(
    drawBar('copy', { done: 1500, total: 3000 }),
    'copy  [############------------]  50 %  1,500 of about 3,000'
  )
  t.match(drawBar('copy', { done: 4, total: 3 }), /\[#{24}\] 100 %/)
  t.match(drawBar('copy', { done: 0, total: 0 }), /100 %/)
  t.equal(drawBar('copy', { done: 4, total: null }), 'copy  4')
})
