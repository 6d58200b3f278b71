import type { Test } from 'tap'
import type { SessionRecord } from '../../lib/index.js'
import { kindOf } from '../../lib/store/format/keys.js'
import type { RocksDatabase } from '../../lib/store/rocksdb/engine/binding.js'
import { borrowDatabase } from '../../lib/store/rocksdb/engine/database.js'
import { type ExpiryEntry, readExpiryEntry } from '../../lib/store/rocksdb/format/expiry-entry.js'
import { RocksDBStore } from '../../lib/store/rocksdb/rocksdb-store.js'
import { TestClock, temporaryFolder } from './app.js'
import { openApplicationDatabase, type Traffic } from './rocksdb.js'
import { someHandle } from './sessions.js'

export const MINUTE = 60_000
export const DAY = 86_400_000

/** A store whose expiry index can be looked at, on a database that can fail. */
export interface IndexedStore {
  readonly store: RocksDBStore
  readonly clock: TestClock
  readonly traffic: Traffic
  /** The column family, past the store. */
  readonly db: RocksDatabase
  /** What it has logged as errors. */
  readonly errors: string[]
  /** A session that is not stored yet. */
  create(lifetime: number): SessionRecord
  /** Stores them in one turn. */
  save(...records: SessionRecord[]): Promise<unknown>
  /** Of the expiry index, in its order. */
  entries(): Promise<ExpiryEntry[]>
  close(): Promise<void>
}

export async function openIndexedStore(t: Test, path?: string): Promise<IndexedStore> {
  const { db, traffic } = await openApplicationDatabase(path ?? (await temporaryFolder(t)))
  const clock = new TestClock()
  const errors: string[] = []
  const error = (_: object, message: string): void => void errors.push(message)
  const store = new RocksDBStore({
    connect: () => borrowDatabase(db, 'session'),
    cacheBytes: 8 * 1024 * 1024
  })
  await store.open({ now: clock.now, log: { debug() {}, info() {}, warn() {}, error } })
  const family = db.columnFamily('session')
  let closing: Promise<void> | null = null
  const close = async (): Promise<void> => {
    await store.close()
    await family.close()
    await db.close()
  }
  t.teardown(() => (closing ??= close()))
  return {
    store,
    clock,
    traffic,
    db: family,
    errors,
    close: () => (closing ??= close()),
    create(lifetime) {
      const { time } = clock
      const start = { createdAt: time, lastSeenAt: time, expiresAt: time + lifetime }
      return store.create({ handle: someHandle(), ...start })
    },
    save: (...records) => Promise.all(records.map((record) => store.save(record, null))),
    async entries() {
      const found: ExpiryEntry[] = []
      for await (const { key, value } of family.iterator({})) {
        if (kindOf(key).startsWith('expiry')) found.push(readExpiryEntry(key, value))
      }
      return found
    }
  }
}

export function times<T>(count: number, make: (at: number) => T): T[] {
  return Array.from({ length: count }, (_, at) => make(at))
}

/** The kinds of all keys but the one that names the format. */
export async function keysIn(db: RocksDatabase): Promise<string[]> {
  const kinds: string[] = []
  for await (const { key } of db.iterator({})) kinds.push(kindOf(key))
  return kinds.filter((kind) => kind !== 'meta')
}
