import { chmod, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { until } from '../../../scripts/servers/until.js'
import { createApp, temporaryFolder } from '../../support/app.js'
import { putRaw, withDatabase } from '../../support/rocksdb.js'

const skip = process.platform === 'win32' ? 'no modes there' : false

/** A database that was made under a lax umask, in a folder that others may enter. */
async function laxFolder(t: Test, mode: number): Promise<string> {
  const path = join(await temporaryFolder(t), 'storage')
  await mkdir(path)
  await withDatabase(path, (db) => putRaw(db, Buffer.from('k'), null))
  for (const name of await readdir(path)) await chmod(join(path, name), 0o644)
  await chmod(path, mode)
  return path
}

async function looseFiles(path: string): Promise<string[]> {
  const loose: string[] = []
  for (const name of await readdir(path)) {
    const { mode } = await stat(join(path, name))
    if ((mode & 0o077) !== 0) loose.push(name)
  }
  return loose
}

async function site(t: Test, path: string) {
  const lines: string[] = []
  const stream = { write: (line: string) => void lines.push(line) }
  const app = await createApp(t, { path }, { logger: { level: 'warn', stream } })
  return { app, lines }
}

test('a folder that others may enter is warned about, and its files are closed', {
  skip
}, async (t) => {
  const path = await laxFolder(t, 0o755)
  t.not((await looseFiles(path)).length, 0)
  const { app, lines } = await site(t, path)
  t.match(lines, [/0755.*other users.*chmod 700/])
  t.same(await looseFiles(path), [])

  const empty = join(path, '..', 'empty')
  await mkdir(empty)
  await chmod(empty, 0o755)
  lines.length = 0
  await app.sessions.backup(empty)
  t.match(lines, [/0755.*backup/])
  t.same(await looseFiles(empty), [])
})

test('so are files that are made later', { skip }, async (t) => {
  const path = await laxFolder(t, 0o755)
  const { app } = await site(t, path)
  const late = join(path, '999999.sst')
  await writeFile(late, '', { mode: 0o644 })
  await until(async () => ((await stat(late)).mode & 0o777) === 0o600)
  await rm(late)
  await app.close()
  t.same(await looseFiles(path), [])
  t.equal((await stat(path)).mode & 0o777, 0o755, "the folder's mode is its owner's to change")
})

test('a folder of our own needs no warning', { skip }, async (t) => {
  const before = process.umask(0)
  t.teardown(() => process.umask(before))
  const path = join(await temporaryFolder(t), 'own')
  const { app, lines } = await site(t, path)
  await app.sessions.backup(join(path, '..', 'backup'))
  t.same(lines, [])
  t.equal((await stat(path)).mode & 0o777, 0o700)
  t.equal((await stat(join(path, '..', 'backup'))).mode & 0o777, 0o700)
})
