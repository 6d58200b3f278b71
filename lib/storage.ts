import type { Storage } from './options.js'
import type { RocksDatabase } from './store/rocksdb/binding.js'
import { borrowDatabase, openDatabase, openReadOnly } from './store/rocksdb/database.js'
import { type Durability, RocksDBStore } from './store/rocksdb/rocksdb-store.js'
import type { SessionStore, StoreLogger } from './store/session-store.js'

/** The store that the options ask for, not yet opened. `memory` is its budget in bytes. */
export function openStore(storage: Storage, memory: number): SessionStore {
  if (storage.kind === 'store') return storage.store
  const { blockCache, memtableBytes, cacheBytes } = divideMemory(memory)
  const { columnFamily, durability } = storage
  const connect =
    storage.kind === 'db'
      ? () => borrowDatabase(storage.db as RocksDatabase, columnFamily)
      : () => openDatabase(storage.path, columnFamily, memtableBytes, blockCache)
  return new RocksDBStore({ connect, durability, cacheBytes })
}

/** Divides the budget for the store; docs/storage.md has the measurements behind it. */
function divideMemory(memory: number): {
  readonly blockCache: boolean
  readonly memtableBytes: number
  readonly cacheBytes: number
} {
  // The binding lets RocksDB have its own 32 MiB for blocks, or none.
  const blockCache = memory >= 2 * BLOCK_CACHE_BYTES
  const rest = memory - (blockCache ? BLOCK_CACHE_BYTES : 0)
  const memtableBytes = Math.min(rest / 2, MOST_MEMTABLE_BYTES)
  return { blockCache, memtableBytes, cacheBytes: rest - memtableBytes }
}

/** How {@link openSessionStore} opens a database. */
export interface OpenStoreOptions {
  /** The column family that holds the sessions. Default `session`. */
  columnFamily?: string
  /**
   * Looks at the database as it is at this moment, whether a server holds it or not; nothing can
   * be written. Default false.
   */
  readOnly?: boolean
  /** As the plugin's option. Default `power`. */
  durability?: Durability
  /** For cache and memtables together, in bytes. Default 20 MiB. */
  memory?: number
  /** Hears of corrupt records. Default: nobody does. */
  log?: StoreLogger
}

/**
 * A store on a database folder, for work on sessions while no server runs. Close it when done.
 *
 * @throws `SLED_SESSION_DATABASE_LOCKED` if a process holds the database, unless `readOnly` is set
 */
export async function openSessionStore(
  path: string,
  options: OpenStoreOptions = {}
): Promise<SessionStore> {
  const { columnFamily = 'session', readOnly = false, log = SILENT, memory = MEMORY } = options
  const cacheBytes = Math.floor(memory / 5)
  const connect = readOnly
    ? () => openReadOnly(path, columnFamily)
    : () => openDatabase(path, columnFamily, memory - cacheBytes)
  // Such work is rare, and whoever did it relies on it: it may cost a sync.
  const durability = readOnly ? 'process' : (options.durability ?? 'power')
  const store = new RocksDBStore({ connect, durability, cacheBytes })
  await store.open({ now: Date.now, log })
  return store
}

const MEMORY = 20 * 1024 * 1024
const BLOCK_CACHE_BYTES = 32 * 1024 * 1024
const MOST_MEMTABLE_BYTES = 32 * 1024 * 1024
const SILENT: StoreLogger = { debug() {}, info() {}, warn() {}, error() {} }
