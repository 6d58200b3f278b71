import { execFileSync } from 'node:child_process'
import { chmod, cp, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Fastify from 'fastify'
import { type Test, test } from 'tap'
import { openSessionStore, sledSession } from '../../../lib/index.js'
import { loadBinding } from '../../../lib/store/rocksdb/engine/binding.js'
import { explainOpenFailure } from '../../../lib/store/rocksdb/engine/open-failure.js'
import { addCounter, cookieOf, createApp, listen, temporaryFolder } from '../../support/app.js'
import { startChild } from '../../support/child.js'

const LOCKED = 'SLED_SESSION_DATABASE_LOCKED'
const UNUSABLE = 'SLED_SESSION_PATH_UNUSABLE'

/** What the files of a database are, to see that nobody writes any. */
async function filesOf(path: string): Promise<string[]> {
  const names = (await readdir(path)).sort()
  return Promise.all(
    names.map(async (name) => {
      const { size, mtimeMs } = await stat(join(path, name))
      return `${name} ${size} ${mtimeMs}`
    })
  )
}

async function refusedAt(t: Test, path: string): Promise<void> {
  const before = await filesOf(path)
  const app = Fastify()
  const message = /another opener in this process/
  await t.rejects(async () => app.register(sledSession, { path }), { code: LOCKED, message })
  await app.close()
  t.same(await filesOf(path), before, 'nothing was written')
}

test('a database that is open here is not opened again through a symbolic link', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'storage')
  const link = join(folder, 'link')
  const app = await createApp(t, { path })
  addCounter(app)
  const cookie = cookieOf(await fetch(await listen(app))) ?? ''
  await symlink(path, link)
  await refusedAt(t, link)
  await t.rejects(openSessionStore(link), { code: LOCKED })
  await t.rejects(app.sessions.backup(link), /holds no backup|held by/)
  t.ok(await app.sessions.load(cookie), 'the first one goes on')
  await app.close()
  const again = await createApp(t, { path: link })
  t.ok(await again.sessions.load(cookie), 'and its sessions are there at the next start')
})

test('nor do two get in that come at the same time', async (t) => {
  const folder = await temporaryFolder(t)
  await mkdir(join(folder, 'storage'))
  await symlink(join(folder, 'storage'), join(folder, 'link'))
  const opening = ['storage', 'link', 'storage'].map((name) => openSessionStore(join(folder, name)))
  const outcomes = await Promise.allSettled(opening)
  t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') await outcome.value.close()
    else t.match(outcome.reason, { code: LOCKED })
  }
})

test('nor through another mount', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'storage')
  const mount = join(folder, 'mount')
  await createApp(t, { path })
  await mkdir(mount)
  try {
    execFileSync('mount', ['--bind', path, mount], { stdio: 'ignore' })
  } catch {
    t.comment('mount needs rights that this user does not have')
    return
  }
  t.teardown(() => execFileSync('umount', [mount]))
  await refusedAt(t, mount)
})

test('nor while the application has it open itself', async (t) => {
  const RocksDB = await loadBinding()
  const folder = await temporaryFolder(t)
  const path = join(folder, 'storage')
  await mkdir(path)
  await symlink(path, join(folder, 'link'))
  const db = new RocksDB(path, { columnFamilies: ['session'] })
  await db.ready()
  if (process.platform === 'linux') await refusedAt(t, join(folder, 'link'))
  const app = await createApp(t, { db })
  await refusedAt(t, join(folder, 'link'))
  await app.close()
  await db.close()
  await createApp(t, { path: join(folder, 'link') })
})

test('two databases that the application has opened in one folder are one too many', async (t) => {
  const RocksDB = await loadBinding()
  const folder = await temporaryFolder(t)
  await mkdir(join(folder, 'storage'))
  await symlink(join(folder, 'storage'), join(folder, 'link'))
  const first = new RocksDB(join(folder, 'storage'), { columnFamilies: ['a', 'b'] })
  await first.ready()
  const second = new RocksDB(join(folder, 'link'), { columnFamilies: ['a', 'b'] })
  await second.ready()
  const app = await createApp(t, { db: first, columnFamily: 'a' })
  await t.rejects(createApp(t, { db: second, columnFamily: 'b' }), { code: LOCKED })
  await app.close()
  await second.close()
  await first.close()
})

const skip = process.getuid?.() === 0 ? false : 'only root can give files to others'
test('files of somebody else are named as that, whatever the path', { skip }, async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'While lock file: LOCK')
  await (await openSessionStore(join(folder, 'storage'))).close()
  await cp(join(folder, 'storage'), path, { recursive: true })
  await chmod(folder, 0o755)
  await chmod(path, 0o777)
  const child = startChild(t, 'test/fixtures/open-as-nobody.ts', { STORAGE: path })
  const [output] = await child.line(/^SLED_SESSION_\w+ .*/)
  t.match(output, /^SLED_SESSION_PATH_UNUSABLE .*\(EACCES\).*right to read and write/)
})

test('a path with LOCK in it, and damage, is not called held', async (t) => {
  const path = join(await temporaryFolder(t), 'LOCK', 'STORAGE.LOCK')
  await (await openSessionStore(path)).close()
  await writeFile(join(path, 'CURRENT'), 'MANIFEST-999999\n')
  await t.rejects(openSessionStore(path), { code: 'SLED_SESSION_DATABASE_OPEN' })
})

test('what the system says is told by its code', async (t) => {
  const explain = (reason: string): Promise<Error> =>
    explainOpenFailure('/srv/LOCK', 'session', new Error(reason))
  const lock = 'While lock file: /srv/LOCK/LOCK'
  t.match(await explain(`${lock}: Resource temporarily unavailable`), { code: LOCKED })
  t.match(await explain(`${lock}: No locks available`), { code: UNUSABLE, message: /ENOLCK/ })
  const open = 'while open a file for lock: /srv/LOCK/LOCK'
  t.match(await explain(`${open}: Read-only file system`), { code: UNUSABLE, message: /EROFS/ })
  t.match(await explain(`${open}: Permission denied`), { code: UNUSABLE, message: /EACCES/ })
  const windows =
    'IO error: Failed to create lock file: C:\\LOCK\\LOCK: The process cannot access the file because it is being used by another process.'
  t.match(await explain(`${windows}\r\n`), { code: LOCKED })
  t.match(await explain('Corruption: bad LOCK'), { code: 'SLED_SESSION_DATABASE_OPEN' })
})
