import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { restoreBackup } from '../../../lib/index.js'
import { openDatabase } from '../../../lib/store/lmdb/engine/database.js'
import { verify } from '../../../lib/store/lmdb/verify.js'
import { counterOf, openStore, storeSession, temporaryFolder } from '../../support/lmdb.js'

const UNUSABLE = { code: 'SLED_SESSION_BACKUP_UNUSABLE' }

test('a backup is one moment of the database, though others write', async (t) => {
  const { store } = await openStore(t)
  const [first, second] = [await storeSession(store), await storeSession(store)]
  const [folder, restored] = [await temporaryFolder(t), await temporaryFolder(t)]
  let busy = true
  const working = (async () => {
    for (let n = 2; busy; n++) {
      // The first is never behind the second.
      for (const { record } of [first, second]) {
        record.apply('counter', String(n))
        await store.save(record, new Map([['counter', String(n)]]))
      }
    }
  })()
  const ahead: number[] = []
  for (let times = 0; times < 5; times++) {
    await store.backup(folder)
    const into = join(restored, String(times))
    await restoreBackup(folder, into)
    const { store: copy } = await openStore(t, { path: into })
    const [one, two] = await Promise.all(
      [first, second].map(async ({ handle }) => Number(await counterOf(copy, handle)))
    )
    ahead.push(Number(one) - Number(two))
    const database = await openDatabase(into)
    t.match(await verify(database), { records: 2, problems: 0 })
    await database.close()
  }
  busy = false
  await working
  t.ok(
    ahead.every((difference) => difference === 0 || difference === 1),
    ahead.join()
  )
})

test('it is for its owner alone, and what was deleted takes no space in it', async (t) => {
  const { store, path } = await openStore(t)
  const text = { counter: `"${'x'.repeat(60_000)}"` }
  const sessions = []
  for (let count = 0; count < 50; count++) sessions.push(await storeSession(store, text))
  for (const { record } of sessions) await store.destroy(record)
  const folder = join(await temporaryFolder(t), 'backup')
  t.match(await store.backup(folder), { deleted: 0 })
  t.equal((await stat(folder)).mode & 0o777, 0o700)
  t.equal((await stat(join(folder, 'data.mdb'))).mode & 0o777, 0o600)
  const sizeOf = async (at: string): Promise<number> => (await stat(join(at, 'data.mdb'))).size
  t.ok((await sizeOf(folder)) < (await sizeOf(path)) / 10)
})

test('one that is stopped leaves the one before as it was', async (t) => {
  const { store } = await openStore(t)
  const { record, handle } = await storeSession(store)
  const folder = await temporaryFolder(t)
  await store.backup(folder)
  const before = await readFile(join(folder, 'data.mdb'))
  record.apply('counter', '2')
  await store.save(record, new Map([['counter', '2']]))
  const stopping = new AbortController()
  stopping.abort(new Error('enough'))
  await t.rejects(store.backup(folder, { signal: stopping.signal }), /enough/)
  t.same(await readFile(join(folder, 'data.mdb')), before)
  t.same((await readdir(folder)).sort(), ['backup.json', 'data.mdb'])
  await store.backup(folder)
  const into = await temporaryFolder(t)
  await restoreBackup(folder, into)
  const { store: copy } = await openStore(t, { path: into })
  t.equal(await counterOf(copy, handle), '2')
})

test('neither a folder with something else nor a damaged backup is taken for one', async (t) => {
  const { store, path } = await openStore(t)
  await storeSession(store, { counter: `"${'x'.repeat(60_000)}"` })
  const other = await temporaryFolder(t)
  await writeFile(join(other, 'letter.txt'), 'dear')
  await t.rejects(store.backup(other), UNUSABLE)
  t.same(await readdir(other), ['letter.txt'])
  await t.rejects(restoreBackup(path, join(other, 'into')), UNUSABLE)

  const folder = await temporaryFolder(t)
  await store.backup(folder)
  const whole = await readFile(join(folder, 'data.mdb'))
  await writeFile(join(folder, 'data.mdb'), whole.subarray(0, whole.length / 2))
  const into = join(await temporaryFolder(t), 'into')
  await t.rejects(restoreBackup(folder, into), UNUSABLE)
  t.same(await readdir(into), [], 'nothing that a server would open')
  await mkdir(join(into, 'full'))
  await writeFile(join(folder, 'data.mdb'), whole)
  await t.rejects(restoreBackup(folder, into), { ...UNUSABLE, message: /not empty/ })
})

test('a server that opens a backup makes a database of it', async (t) => {
  const { store } = await openStore(t)
  const { handle } = await storeSession(store)
  const folder = await temporaryFolder(t)
  await store.backup(folder)
  const { store: copy } = await openStore(t, { path: folder })
  t.equal(await counterOf(copy, handle), '1')
  t.notOk((await readdir(folder)).includes('backup.json'))
  await t.rejects(restoreBackup(folder, join(folder, 'into')), UNUSABLE)
})
