import type { Storage } from './options.js'
import type { RocksDatabase } from './store/rocksdb/binding.js'
import { borrowDatabase, openDatabase } from './store/rocksdb/database.js'
import { RocksDBStore } from './store/rocksdb/rocksdb-store.js'
import type { SessionStore } from './store/session-store.js'

/** The store that the options ask for, not yet opened. `memory` is its budget in bytes. */
export function openStore(storage: Storage, memory: number): SessionStore {
  if (storage.kind === 'store') return storage.store
  // RocksDB's block cache takes the other half: the binding leaves it at RocksDB's own 32 MiB.
  const cacheBytes = memory / 4
  const memtableBytes = memory / 4
  const { columnFamily, durability } = storage
  const connect =
    storage.kind === 'db'
      ? () => borrowDatabase(storage.db as RocksDatabase, columnFamily)
      : () => openDatabase(storage.path, columnFamily, memtableBytes)
  return new RocksDBStore({ connect, durability, cacheBytes })
}
