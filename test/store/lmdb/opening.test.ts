import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { open } from 'lmdb'
import { test } from 'tap'
import { openSessionStore } from '../../../lib/index.js'
import { LmdbStore } from '../../../lib/lmdb.js'
import { META_KEY } from '../../../lib/store/format/keys.js'
import { openDatabase } from '../../../lib/store/lmdb/engine/database.js'
import { refuseNetworkFolder } from '../../../lib/store/lmdb/engine/network-folder.js'
import { openStore, storeSession, temporaryFolder } from '../../support/lmdb.js'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const context = { now: Date.now, log }
const UNUSABLE = { code: 'SLED_SESSION_PATH_UNUSABLE' }

test('options are checked', async (t) => {
  const INVALID = { code: 'SLED_SESSION_INVALID_OPTION' }
  t.throws(() => new LmdbStore({ path: '' }), INVALID)
  t.throws(() => new LmdbStore({ path: 1 } as never), INVALID)
  t.throws(() => new LmdbStore({ path: 'x', durability: 'none' } as never), INVALID)
  t.throws(() => new LmdbStore({ path: 'x', folder: 'y' } as never), INVALID)
  t.throws(() => new LmdbStore(undefined as never), INVALID)
})

test('a path that is a file, or goes through one, is refused', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'file'), '')
  for (const path of [join(folder, 'file'), join(folder, 'file', 'below')]) {
    await t.rejects(new LmdbStore({ path }).open(context), UNUSABLE)
  }
})

test('a folder with a dot in its name is a folder', async (t) => {
  const path = join(await temporaryFolder(t), 'sessions.mdb')
  await openStore(t, { path })
  t.ok((await stat(join(path, 'data.mdb'))).isFile())
})

test('the folder and its files are closed to others', async (t) => {
  const path = join(await temporaryFolder(t), 'new')
  const { log } = await openStore(t, { path })
  t.equal((await stat(path)).mode & 0o777, 0o700)
  t.equal((await stat(join(path, 'data.mdb'))).mode & 0o777, 0o600)
  t.same(log, [])
  const open = join(await temporaryFolder(t), 'open')
  await mkdir(open, { mode: 0o755 })
  t.match((await openStore(t, { path: open })).log, [/chmod 700/])
})

test('a folder with a RocksDB database, or with one of another application, is left alone', async (t) => {
  const rocks = await temporaryFolder(t)
  await (await openSessionStore(rocks)).close()
  await t.rejects(new LmdbStore({ path: rocks }).open(context), {
    ...UNUSABLE,
    message: /RocksDB.*sled-session copy/
  })
  const foreign = await temporaryFolder(t)
  const root = open(foreign, { noSubdir: false })
  await root.openDB('customers', {}).put('a', 1)
  await root.close()
  await t.rejects(new LmdbStore({ path: foreign }).open(context), {
    ...UNUSABLE,
    message: /another application/
  })
  const again = open(foreign, { noSubdir: false })
  t.same([...again.getKeys()], ['customers'])
  await again.close()
})

test('what is no database of LMDB, or a part of one, is not opened', async (t) => {
  const REFUSED = { code: 'SLED_SESSION_DATABASE_OPEN' }
  const path = await temporaryFolder(t)
  await writeFile(join(path, 'data.mdb'), 'x'.repeat(10_000))
  await t.rejects(new LmdbStore({ path }).open(context), REFUSED)

  const store = new LmdbStore({ path: join(path, 'whole') })
  await store.open(context)
  for (let count = 0; count < 10; count++) {
    await storeSession(store, { counter: `"${'x'.repeat(60_000)}"` })
  }
  await store.close()
  const data = await readFile(join(path, 'whole', 'data.mdb'))
  for (const size of [100, 4096, 8192, data.length / 2]) {
    await writeFile(join(path, 'data.mdb'), data.subarray(0, size))
    await t.rejects(new LmdbStore({ path }).open(context), REFUSED, `${size} bytes of it`)
  }
  await writeFile(join(path, 'data.mdb'), data)
  const whole = new LmdbStore({ path })
  await whole.open(context)
  t.equal(await whole.count(), 10)
  await whole.close()
})

test('a newer format, and one that cannot be told, are refused', async (t) => {
  const path = await temporaryFolder(t)
  const store = new LmdbStore({ path })
  await store.open(context)
  await storeSession(store)
  await store.close()
  const write = async (meta: string | null): Promise<void> => {
    const { notes, ...database } = await openDatabase(path).then((opened) => ({
      notes: opened.notes,
      close: () => opened.close()
    }))
    if (meta === null) await notes.remove(META_KEY)
    else await notes.put(META_KEY, Buffer.from(meta), 1)
    await database.close()
  }
  await write('{"format":2}')
  await t.rejects(store.open(context), { code: 'SLED_SESSION_FORMAT_UNSUPPORTED' })
  for (const meta of ['nonsense', null]) {
    await write(meta)
    await t.rejects(store.open(context), { code: 'SLED_SESSION_FORMAT_UNREADABLE' })
  }
  await write('{"format":1}')
  await store.open(context)
  t.equal(await store.count(), 1)
  await store.close()
})

test('a second store of this process on the same folder is refused, by whichever path', async (t) => {
  const path = await temporaryFolder(t)
  const store = new LmdbStore({ path })
  await store.open(context)
  await t.rejects(new LmdbStore({ path: `${path}/../${path.split('/').at(-1)}` }).open(context), {
    code: 'SLED_SESSION_INVALID_OPTION'
  })
  await store.close()
  await store.open(context)
  await store.close()
})

test('a network file system is refused by name, and a local one is not', async (t) => {
  const path = await temporaryFolder(t)
  await refuseNetworkFolder(path)
  for (const [type, name] of [
    [0x6969, 'NFS'],
    [0xfe534d42, 'SMB2']
  ] as const) {
    await t.rejects(
      refuseNetworkFolder(path, async () => ({ type })),
      { ...UNUSABLE, message: new RegExp(`on ${name}, `) }
    )
  }
})

test('without the package lmdb the error says how to install it', async (t) => {
  const path = await temporaryFolder(t)
  const load = () => Promise.reject(new Error("Cannot find package 'lmdb'"))
  const store = new LmdbStore({ path }, { load })
  await t.rejects(store.open(context), {
    code: 'SLED_SESSION_BINDING_UNAVAILABLE',
    message: /Cannot load lmdb.*npm install lmdb/
  })
})

test('who reads or takes a lease while the database closes gets an error, and the process lives', async (t) => {
  const path = await temporaryFolder(t)
  const store = new LmdbStore({ path })
  await store.open(context)
  const leasing = store.takeLease('a name', 'an owner', 5000)
  const closing = store.close()
  const reading = (async () => {
    for (;;) {
      await store.loadByHandle('A'.repeat(43))
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  await t.rejects(reading, { message: 'the database is closed' })
  await closing
  // It may have been first.
  await leasing.catch((error: Error) => t.equal(error.message, 'the database is closed'))
  // Behind the timer of the binding.
  await new Promise((resolve) => setTimeout(resolve, 1))
})

test('a write to a store that is closed fails, and nothing else', async (t) => {
  const path = await temporaryFolder(t)
  const store = new LmdbStore({ path })
  await store.open(context)
  const { record } = await storeSession(store)
  await store.close()
  record.apply('counter', '2')
  await t.rejects(store.save(record, new Map([['counter', '2']])), /closed/)
})
