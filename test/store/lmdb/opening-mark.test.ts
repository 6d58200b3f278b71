import { existsSync } from 'node:fs'
import { open, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { test } from 'tap'
import { openDatabase } from '../../../lib/store/lmdb/engine/database.js'
import { openMarked } from '../../../lib/store/lmdb/engine/opening-mark.js'
import { Leases } from '../../../lib/store/lmdb/leases.js'
import {
  counterOf,
  lmdbWithOpener,
  openStore,
  storeSession,
  temporaryFolder
} from '../../support/lmdb.js'

/** Where lock.mdb has the number of the newest transaction, which all processes begin from. */
const NEWEST_AT = 8
const SOON_MS = 50

/** What LMDB does when it has opened a database while another process committed to it. */
async function takeBack(path: string, by: bigint): Promise<void> {
  const file = await open(join(path, 'lock.mdb'), 'r+')
  const newest = Buffer.alloc(8)
  await file.read(newest, 0, 8, NEWEST_AT)
  newest.writeBigUInt64LE(newest.readBigUInt64LE() - by)
  await file.write(newest, 0, 8, NEWEST_AT)
  await file.close()
}

test('a database is opened behind a mark, which goes with it', async (t) => {
  const path = await temporaryFolder(t)
  const marks: boolean[] = []
  await openMarked(path, () => marks.push(existsSync(join(path, 'opening'))))
  await t.rejects(
    openMarked(path, () => {
      marks.push(existsSync(join(path, 'opening')))
      throw new Error('damaged')
    }),
    /damaged/
  )
  t.same(marks, [true, true])
  t.notOk(existsSync(join(path, 'opening')))
})

test('processes open a database one after the other', async (t) => {
  const path = await temporaryFolder(t)
  await writeFile(join(path, 'opening'), '')
  let opened = false
  const opening = openMarked(path, () => {
    opened = true
  })
  await pause(SOON_MS * 3)
  t.notOk(opened)
  await rm(join(path, 'opening'))
  await opening
  t.ok(opened)
})

test('a process that was late finds its mark taken away, and sets it again', async (t) => {
  const path = await temporaryFolder(t)
  const mark = join(path, 'opening')
  const marks: boolean[] = []
  const opening = openMarked(path, () => marks.push(existsSync(mark)))
  while (!existsSync(mark)) await pause(1)
  await rm(mark)
  // As a busy machine holds up a process.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1200)
  await opening
  t.same(marks, [true])
  t.notOk(existsSync(mark))
})

test('a mark that a killed process has left holds up nobody for long', async (t) => {
  const path = await temporaryFolder(t)
  const { store } = await openStore(t, { path })
  const old = new Date(Date.now() - 4000)
  await writeFile(join(path, 'opening'), '')
  await utimes(join(path, 'opening'), old, old)
  const { handle } = await storeSession(store)
  t.equal(await counterOf(store, handle), '1')
  const database = await openDatabase(path)
  t.notOk(existsSync(join(path, 'opening')), 'and the next that opens takes it away')
  await database.close()
})

test('a folder in which no mark can be made is opened all the same', async (t) => {
  t.equal(await openMarked(join(await temporaryFolder(t), 'missing'), () => 'opened'), 'opened')
})

for (const durability of ['process', 'power'] as const) {
  test(`nothing is written while another process opens the database (${durability})`, async (t) => {
    const path = await temporaryFolder(t)
    const { store } = await openStore(t, { path, durability })
    const { record, handle } = await storeSession(store)
    await writeFile(join(path, 'opening'), '')
    record.apply('counter', '2')
    let acknowledged = false
    const saving = store.save(record, new Map([['counter', '2']])).then(() => {
      acknowledged = true
    })
    await pause(SOON_MS)
    t.equal(await counterOf(store, handle), '1')
    t.notOk(acknowledged)
    await rm(join(path, 'opening'))
    await saving
    t.equal(await counterOf(store, handle), '2')
  })

  test(`what was committed at that moment, and taken back, is written again (${durability})`, async (t) => {
    const path = await temporaryFolder(t)
    const opener = { mark: '' }
    const { store } = await openStore(t, { path, durability }, lmdbWithOpener(opener))
    const { record, handle } = await storeSession(store)
    const before = await readFile(join(path, 'lock.mdb'))
    opener.mark = join(path, 'opening')
    record.apply('counter', '2')
    let acknowledged = false
    const saving = store.save(record, new Map([['counter', '2']])).then(() => {
      acknowledged = true
    })
    while ((await counterOf(store, handle)) !== '2') await pause(1)
    await pause(SOON_MS)
    t.notOk(acknowledged, 'it is not acknowledged while it could be')
    const after = await readFile(join(path, 'lock.mdb'))
    t.equal(after.readBigUInt64LE(NEWEST_AT) - before.readBigUInt64LE(NEWEST_AT), 1n)
    await takeBack(path, 1n)
    t.equal(await counterOf(store, handle), '1', 'it is lost')
    await rm(join(path, 'opening'))
    await saving
    t.equal(await counterOf(store, handle), '2')
  })

  test(`so is the end of a session (${durability})`, async (t) => {
    const path = await temporaryFolder(t)
    const opener = { mark: '' }
    const { store } = await openStore(t, { path, durability }, lmdbWithOpener(opener))
    const { record, handle } = await storeSession(store)
    opener.mark = join(path, 'opening')
    const ending = store.destroy(record)
    while ((await store.read(handle)) !== null) await pause(1)
    await takeBack(path, 1n)
    t.not(await store.read(handle), null, 'it is back')
    await rm(join(path, 'opening'))
    await ending
    t.equal(await store.read(handle), null)
  })
}

test('what was committed at that moment, and stays, is acknowledged when the mark is gone', async (t) => {
  const path = await temporaryFolder(t)
  const opener = { mark: '' }
  const { store } = await openStore(t, { path }, lmdbWithOpener(opener))
  const { record, handle } = await storeSession(store)
  opener.mark = join(path, 'opening')
  const swapping = store.compareAndSet(record, 'counter', '1', '2')
  while ((await counterOf(store, handle)) !== '2') await pause(1)
  await rm(join(path, 'opening'))
  t.equal(await swapping, true, 'once, and not a second time')
  t.equal(await counterOf(store, handle), '2')
})

test('a lease that was taken back is taken again, or told to be another process’s', async (t) => {
  const path = await temporaryFolder(t)
  const opener = { mark: '' }
  const database = await openDatabase(path, { load: lmdbWithOpener(opener) })
  t.teardown(() => database.close())
  const leases = new Leases(database)
  await leases.take('first', 'a', 60_000)
  opener.mark = join(path, 'opening')
  const taking = leases.take('route', 'a', 60_000)
  while (!existsSync(join(path, 'opening'))) await pause(1)
  await pause(SOON_MS)
  await takeBack(path, 1n)
  await rm(join(path, 'opening'))
  t.equal(await taking, true)
  t.equal(await leases.take('route', 'b', 60_000), false, 'it is held')
})
