import fs from 'node:fs'
import { open, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { createSessionId, handleOf } from '../../../lib/record/handle.js'
import { openSessionStore } from '../../../lib/store/open-store.js'
import type { RocksDatabase } from '../../../lib/store/rocksdb/engine/binding.js'
import { GroupCommit } from '../../../lib/store/rocksdb/engine/group-commit.js'
import { WalSync } from '../../../lib/store/rocksdb/engine/wal-sync.js'
import { temporaryFolder } from '../../support/app.js'

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** A step of the disk that is under way until the test ends it. */
interface Step {
  readonly covers: number
  end(error?: Error): void
}

/** A database whose writes and syncs end when the test says so. */
class Disk {
  readonly flushes: Step[] = []
  readonly syncs: Step[] = []
  /** The writes that the log has, and how many of them are on the disk. */
  written: number[] = []
  durable = 0
  readonly commit: GroupCommit

  constructor() {
    const db = {
      write: () => {
        const batch: number[] = []
        return {
          tryPut: (key: number) => batch.push(key),
          destroy() {},
          flush: () => this.#step(this.flushes, 0, () => this.written.push(...batch))
        }
      }
    } as unknown as RocksDatabase
    this.commit = new GroupCommit({ db }, () => {
      const covers = this.written.length
      return this.#step(this.syncs, covers, () => {
        this.durable = covers
      })
    })
  }

  #step(steps: Step[], covers: number, done: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      steps.push({
        covers,
        end(error) {
          if (error !== undefined) return reject(error)
          done()
          resolve()
        }
      })
    })
  }
}

test('a group is acknowledged when a sync that began after its write has ended, in order', async (t) => {
  const step = fc.constantFrom('add', 'add', 'flush', 'sync', 'fail flush', 'fail sync', 'turn')
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const disk = new Disk()
      const settled: number[] = []
      let added = 0
      let wrong = ''
      const end = async (what: string): Promise<void> => {
        const side = what.endsWith('flush') ? disk.flushes : disk.syncs
        side.shift()?.end(what.startsWith('fail') ? new Error('the disk failed') : undefined)
        await turn()
      }
      for (const what of steps) {
        if (what === 'turn') await turn()
        else if (what !== 'add') await end(what)
        else {
          const number = added++
          const adding = disk.commit.add({
            writeTo: (batch) => batch.tryPut(number as unknown as Buffer, Buffer.alloc(0)),
            settled(error) {
              settled.push(number)
              const isDurable = disk.written.slice(0, disk.durable).includes(number)
              if (error === null && !isDurable) wrong = `${number} was acknowledged too early`
            }
          })
          adding.catch(() => {})
        }
        if (disk.flushes.length > 1 || disk.syncs.length > 1) return false
      }
      let idle = false
      const draining = disk.commit.drain().then(() => {
        idle = true
      })
      for (let count = 0; !idle && count < 300; count++) {
        await end('flush')
        await end('sync')
      }
      if (!idle) return false
      await draining
      const inOrder = settled.every((number, at) => number === at)
      return wrong === '' && inOrder && settled.length === added
    })
  )
  t.pass()
})

test('the next group is written while the last one is synced', async (t) => {
  const disk = new Disk()
  const settled: string[] = []
  const add = (name: string): void => {
    void disk.commit.add({ writeTo() {}, settled: () => void settled.push(name) })
  }
  add('first')
  await turn()
  disk.flushes.shift()?.end()
  await turn()
  add('second')
  await turn()
  t.equal(disk.flushes.length, 1)
  disk.flushes.shift()?.end()
  await turn()
  t.equal(disk.syncs.length, 1, 'and waits for the next sync')
  disk.syncs.shift()?.end()
  await turn()
  t.same(settled, ['first'])
  disk.syncs.shift()?.end()
  await turn()
  t.same(settled, ['first', 'second'])
})

test('what was written to a log after its sync had begun is synced though the log has changed', async (t) => {
  const path = await temporaryFolder(t)
  const log = (number: number): string => join(path, `${String(number).padStart(6, '0')}.log`)
  await writeFile(log(4), 'first')
  const synced: number[] = []
  const file = await open(log(4))
  const { ino } = await stat(log(4))
  const handles = Object.getPrototypeOf(file) as { datasync(this: { fd: number }): Promise<void> }
  const { datasync } = handles
  t.teardown(() => Object.assign(handles, { datasync }))
  await file.close()
  let changedAt = Number.POSITIVE_INFINITY
  handles.datasync = function () {
    if (fs.fstatSync(this.fd).ino === ino) synced.push(changedAt)
    return datasync.call(this)
  }
  let current = 4
  const db = {
    currentWalFile: async () => {
      if (current === 5) {
        // In the midst of the sync: a write that is acknowledged goes to the old log, and then
        // there is another.
        await turn()
        await writeFile(log(4), 'first and second')
        await writeFile(log(5), '')
        changedAt = 0
      }
      return { number: current }
    }
  } as unknown as RocksDatabase
  const wal = new WalSync({ db, path })
  await wal.sync()
  current = 5
  await wal.sync()
  await wal.sync()
  t.ok(synced.includes(0), 'the old log is synced again')
  await wal.close()
})

test('whether a session has ended shows when that is on the disk, not when an earlier write is', async (t) => {
  const path = await temporaryFolder(t)
  const id = createSessionId()
  const store = await openSessionStore(path, { durability: 'power' })
  t.teardown(() => store.close())
  const [createdAt, expiresAt] = [Date.now(), Date.now() + 3_600_000]
  const record = store.create({ handle: handleOf(id), createdAt, lastSeenAt: createdAt, expiresAt })
  await store.save(record, null)

  const waiting: (() => void)[] = []
  const file = await open(join(path, 'CURRENT'))
  const handles = Object.getPrototypeOf(file) as { datasync(): Promise<void> }
  const { datasync } = handles
  t.teardown(() => Object.assign(handles, { datasync }))
  await file.close()
  handles.datasync = async function () {
    await new Promise<void>((resolve) => waiting.push(resolve))
    return datasync.call(this)
  }
  const until = async (count: number): Promise<void> => {
    while (waiting.length < count) await turn()
  }
  const saving = store.save(record, null)
  await until(1)
  const before = (await store.stats?.())?.writes?.groups ?? 0
  let destroyed = false
  const destroying = store.destroy(record).then(() => {
    destroyed = true
  })
  while (((await store.stats?.())?.writes?.groups ?? 0) === before) await turn()
  for (let count = 0; count < 20; count++) await turn()
  waiting[0]?.()
  await saving
  let told = false
  const loading = Promise.resolve(store.load(id)).then((found) => {
    t.equal(found, null)
    told = true
  })
  await until(2)
  for (let count = 0; count < 20; count++) await turn()
  t.equal(told || destroyed, false)
  waiting[1]?.()
  await Promise.all([destroying, loading])
})
