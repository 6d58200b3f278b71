import { access, chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Fastify from 'fastify'
import { type Test, test } from 'tap'
import { type SledSessionOptions, sledSession } from '../../../lib/index.js'
import { META_KEY } from '../../../lib/store/format/keys.js'
import { loadBinding } from '../../../lib/store/rocksdb/engine/binding.js'
import { addCounter, cookieOf, createApp, listen, temporaryFolder } from '../../support/app.js'
import { startChild } from '../../support/child.js'
import { putRaw, readDatabase, withDatabase } from '../../support/rocksdb.js'

/** Registers and expects an error with this code, which must speak of the path. */
async function refused(
  t: Test,
  options: SledSessionOptions,
  code: string,
  message: RegExp
): Promise<void> {
  const app = Fastify()
  await t.rejects(
    async () => app.register(sledSession, { reapInterval: false, ...options }),
    { code, message },
    `${code} ${message}`
  )
  await app.close()
}

async function works(t: Test, options: SledSessionOptions): Promise<void> {
  const app = await createApp(t, options)
  addCounter(app)
  t.equal(await (await fetch(await listen(app))).text(), 'Current count: 0')
  await app.close()
}

test('folders are created as deep as needed, for their owner alone', async (t) => {
  const path = join(await temporaryFolder(t), 'a', 'b c', 'd')
  await works(t, { path })
  t.equal((await stat(path)).mode & 0o777, 0o700)
})

test('a path that is a file, or leads through one, is refused and left as it was', async (t) => {
  const file = join(await temporaryFolder(t), 'file')
  await writeFile(file, 'mine')
  const code = 'SLED_SESSION_PATH_UNUSABLE'
  await refused(t, { path: file }, code, /file".*is a file/)
  await refused(t, { path: join(file, 'below') }, code, /below".*is a file/)
  t.equal(await readFile(file, 'utf8'), 'mine')
})

test('a path that cannot be created is refused at once', async (t) => {
  await refused(
    t,
    { path: '/proc/nowhere/storage' },
    'SLED_SESSION_PATH_UNUSABLE',
    /"\/proc\/nowhere\/storage".*cannot be created/
  )
})

test('a folder that may not be written is refused', async (t) => {
  const path = join(await temporaryFolder(t), 'closed')
  await mkdir(path)
  await chmod(path, 0o555)
  const message = /closed".*not writable.*mode 555/
  if (process.getuid?.() !== 0) {
    await refused(t, { path }, 'SLED_SESSION_PATH_UNUSABLE', message)
    return
  }
  // Root may write everywhere, so somebody else tries.
  await chmod(join(path, '..'), 0o755)
  const child = startChild(t, 'test/fixtures/open-as-nobody.ts', { STORAGE: path })
  const [output] = await child.line(/^SLED_SESSION_\w+ .*/)
  t.match(output, /^SLED_SESSION_PATH_UNUSABLE /)
  t.match(output, message)
})

test('a database that another process holds is refused, and free again after it', async (t) => {
  const path = await temporaryFolder(t)
  const holder = startChild(t, 'test/fixtures/server.ts', { STORAGE: path })
  await holder.line(/listening/)
  const code = 'SLED_SESSION_DATABASE_LOCKED'
  await refused(t, { path, lockTimeout: 0 }, code, /is held by another process.*stop it first/)
  await holder.stop('SIGKILL')
  await works(t, { path })
})

test('a database that another registration holds is refused', async (t) => {
  const path = await temporaryFolder(t)
  const app = await createApp(t, { path })
  await refused(t, { path }, 'SLED_SESSION_DATABASE_LOCKED', /another opener in this process/)
  await app.close()
  await works(t, { path })
})

test('a database with column families of others is refused and left alone', async (t) => {
  const path = await temporaryFolder(t)
  await withDatabase(path, (db) => putRaw(db, Buffer.from('k'), Buffer.from('v')), 'orders')
  await refused(t, { path }, 'SLED_SESSION_COLUMN_FAMILY', /beside "session": .*orders/)
  t.same(await readDatabase(path, 'orders'), [[Buffer.from('k'), Buffer.from('v')]])
})

test('another name for the column family', async (t) => {
  const path = await temporaryFolder(t)
  await works(t, { path, columnFamily: 'logins' })
  t.equal((await readDatabase(path, 'logins')).length, 3, 'meta, record and index entry')
})

test('damaged files are refused with what to do', async (t) => {
  const path = await temporaryFolder(t)
  await works(t, { path })
  await writeFile(join(path, 'CURRENT'), 'MANIFEST-999999\n')
  await refused(t, { path }, 'SLED_SESSION_DATABASE_OPEN', /sled-session verify.*restore a backup/)
})

test('a newer format is refused and left untouched', async (t) => {
  const path = await temporaryFolder(t)
  await works(t, { path })
  await withDatabase(path, (db) => putRaw(db, META_KEY, Buffer.from('{"format":99}')))
  const before = await readDatabase(path)
  await refused(t, { path }, 'SLED_SESSION_FORMAT_UNSUPPORTED', /has format 99/)
  t.same(await readDatabase(path), before)
})

test('a database that is closed can be opened again at once', async (t) => {
  const path = await temporaryFolder(t)
  for (let round = 0; round < 5; round++) await works(t, { path })
})

test("the application's own database is used, and neither opened nor closed", async (t) => {
  const RocksDB = await loadBinding()
  const path = await temporaryFolder(t)
  const db = new RocksDB(path, { columnFamilies: ['session', 'orders'] })
  await db.ready()
  const app = await createApp(t, { db })
  addCounter(app)
  const cookie = cookieOf(await fetch(await listen(app)))
  await app.close()

  const orders = db.columnFamily('orders')
  await putRaw(orders, Buffer.from('k'), Buffer.from('v'))
  t.same(await orders.get(Buffer.from('k')), Buffer.from('v'), 'it is still open')
  const again = await createApp(t, { db })
  t.ok(await again.sessions.load(cookie))
  await again.close()
  await orders.close()
  await db.close()
})

test('two registrations share one database in column families of their own', async (t) => {
  const RocksDB = await loadBinding()
  const db = new RocksDB(await temporaryFolder(t), { columnFamilies: ['a', 'b'] })
  await db.ready()
  const first = await createApp(t, { db, columnFamily: 'a' })
  const second = await createApp(t, { db, columnFamily: 'b' })
  addCounter(first)
  await fetch(await listen(first))
  t.equal(await first.sessions.count(), 1)
  t.equal(await second.sessions.count(), 0)
  await first.close()
  await second.close()
  await db.close()
})

test('a database without our column family is refused with how to open it', async (t) => {
  const RocksDB = await loadBinding()
  const db = new RocksDB(await temporaryFolder(t), { columnFamilies: ['orders'] })
  await db.ready()
  await refused(t, { db }, 'SLED_SESSION_COLUMN_FAMILY', /columnFamilies: \['session'\]/)
  await db.close()
})

test('a registration that fails leaves nothing behind', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'storage')
  await refused(
    t,
    { path, rolling: 5 as unknown as boolean },
    'SLED_SESSION_INVALID_OPTION',
    /rolling/
  )
  await t.rejects(access(path))
  t.same(await readdir(folder), [])
})
