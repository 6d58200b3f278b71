import { loadBinding, type RocksDatabase } from '../../lib/store/rocksdb/engine/binding.js'

/** What is on disk in a column family that nobody has open, as `[key, value]` pairs. */
export async function readDatabase(path: string, family = 'session'): Promise<[Buffer, Buffer][]> {
  return withDatabase(
    path,
    async (db) => {
      const entries: [Buffer, Buffer][] = []
      for await (const { key, value } of db.iterator({})) entries.push([key, value])
      return entries
    },
    family
  )
}

/** How many keys of one kind there are: 1 records, 2 expiry index, 3 principal index, 4 quarantine. */
export function countKind(entries: [Buffer, Buffer][], kind: number): number {
  return entries.filter(([key]) => key[0] === kind).length
}

/** Opens a database past the store, to look at it or to damage it. */
export async function withDatabase<T>(
  path: string,
  work: (db: RocksDatabase) => Promise<T>,
  family = 'session'
): Promise<T> {
  const RocksDB = await loadBinding()
  const root = new RocksDB(path, { columnFamilies: [family] })
  await root.ready()
  const db = root.columnFamily(family)
  try {
    return await work(db)
  } finally {
    await db.close()
    await root.close()
  }
}

/** Writes one entry past the store; without a value, deletes it. */
export async function putRaw(db: RocksDatabase, key: Buffer, value: Buffer | null): Promise<void> {
  const batch = db.write({ autoDestroy: true })
  if (value === null) batch.tryDelete(key)
  else batch.tryPut(key, value)
  await batch.flush()
}

/** `begin` is where a batch of writes begins, which fails while the database is closed. */
type Access = 'begin' | 'write' | 'read' | 'iterator'

/** What was asked of a database. */
export interface Traffic {
  /** Batches written. */
  writes: number
  /** Batches read. */
  reads: number
  /** Entries that iterators gave. */
  iterated: number
  /** What fails, as a full or broken disk would make it: all of a kind, or what is picked one by one. */
  failing: Access | ((what: Access) => boolean) | null
  /** What takes this long, as a disk that hangs would make it. */
  held: { what: 'write' | 'read'; until: Promise<void> } | null
}

/** A database as an application would have it open, with a count of what is asked of it. */
export async function openApplicationDatabase(
  path: string,
  families = ['session']
): Promise<{ db: RocksDatabase; traffic: Traffic }> {
  const RocksDB = await loadBinding()
  const db = new RocksDB(path, { columnFamilies: families })
  await db.ready()
  const traffic: Traffic = { writes: 0, reads: 0, iterated: 0, failing: null, held: null }
  const { columnFamily } = db
  db.columnFamily = function spyOnFamily(name) {
    return spy(columnFamily.call(this, name), traffic)
  }
  return { db, traffic }
}

function spy(family: RocksDatabase, traffic: Traffic): RocksDatabase {
  const { write, read, iterator } = family
  const fails = (what: Access): boolean => {
    const { failing } = traffic
    return typeof failing === 'function' ? failing(what) : failing === what
  }
  const failIf = (what: Access): void => {
    if (fails(what)) throw new Error('IO error: No space left on device')
  }
  const holdIf = async (what: 'write' | 'read'): Promise<void> => {
    if (traffic.held?.what === what) await traffic.held.until
  }
  family.write = (options) => {
    failIf('begin')
    traffic.writes++
    const batch = write.call(family, options)
    const { flush } = batch
    batch.flush = async () => {
      await holdIf('write')
      try {
        failIf('write')
      } catch (error) {
        // The database waits for every batch when it closes.
        ;(batch as unknown as { destroy(): void }).destroy()
        throw error
      }
      await flush.call(batch)
    }
    return batch
  }
  family.read = (options) => {
    traffic.reads++
    const batch = read.call(family, options)
    const { get } = batch
    batch.get = async (key) => {
      failIf('read')
      const value = await get.call(batch, key)
      await holdIf('read')
      return value
    }
    return batch
  }
  family.iterator = async function* count(range, options) {
    failIf('iterator')
    for await (const entry of iterator.call(family, range, options)) {
      traffic.iterated++
      yield entry
    }
  }
  return family
}
