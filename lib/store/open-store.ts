import { anyObject, flag, type Option, option, readOptions, refuse } from '../record/option.js'
import { now } from '../timers.js'
import { GuardedStore } from './guarded-store.js'
import { holdsDatabase as holdsLmdb } from './lmdb/engine/database.js'
import { LmdbStore } from './lmdb/lmdb-store.js'
import type { RocksDatabase } from './rocksdb/engine/binding.js'
import { borrowDatabase, openDatabase, openReadOnly } from './rocksdb/engine/database.js'
import { type Durability, RocksDBStore } from './rocksdb/rocksdb-store.js'
import type { SessionStore, StoreLogger } from './session-store.js'
import { folder as checkFolder, columnFamily, durability, memory } from './store-options.js'

interface DatabaseOptions {
  readonly columnFamily: string
  readonly durability: Durability
}

/** Which of the three the plugin's options name, as checked. */
export type StoreOptions =
  | ({
      readonly kind: 'path'
      readonly path: string
      /** How long to wait for a process that holds it, in ms. */
      readonly lockTimeout: number
    } & DatabaseOptions)
  | ({ readonly kind: 'db'; readonly db: object } & DatabaseOptions)
  | { readonly kind: 'store'; readonly store: SessionStore }

/** The store that the options ask for, not yet opened. `memory` is its budget in bytes. */
export function createStore(options: StoreOptions, memory: number): SessionStore {
  if (options.kind === 'store') return options.store
  const memtableBytes = Math.min(Math.floor(memory / MEMTABLE_PART), MOST_MEMTABLE_BYTES)
  const { columnFamily, durability } = options
  const connect =
    options.kind === 'db'
      ? () => borrowDatabase(options.db as RocksDatabase, columnFamily)
      : (log: StoreLogger) =>
          openDatabase(options.path, columnFamily, memtableBytes, {
            timeout: options.lockTimeout,
            log
          })
  return new RocksDBStore({ connect, durability, cacheBytes: memory - memtableBytes })
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
 * A store on a database folder, for work on sessions: on RocksDB while no server runs, on LMDB
 * beside the servers. What is in the folder tells which it is; a new one becomes a RocksDB. Close it
 * when done.
 *
 * ```ts
 * const store = await openSessionStore('./storage', { readOnly: true })
 * for await (const { principal, lastSeenAt } of store.records()) report(principal, lastSeenAt)
 * await store.close()
 * ```
 *
 * @throws `SLED_SESSION_INVALID_OPTION` for a path or an option that is none
 * @throws `SLED_SESSION_DATABASE_LOCKED` if a process holds the database, unless `readOnly` is set
 */
export async function openSessionStore(
  path: string,
  options: OpenStoreOptions = {}
): Promise<SessionStore> {
  checkFolder(path, 'path')
  const { columnFamily, readOnly, log, memory, ...given } = readOptions(OPTIONS, options)
  if (await holdsLmdb(path)) {
    const store = new LmdbStore({ path, durability: given.durability }, { readOnly })
    await store.open({ now, log })
    return new GuardedStore(store)
  }
  const cacheBytes = Math.floor(memory / 5)
  const connect = readOnly
    ? () => openReadOnly(path, columnFamily)
    : () => openDatabase(path, columnFamily, memory - cacheBytes)
  // This work is rare and its caller relies on it, so a sync is worth its time.
  const durability = readOnly ? 'process' : given.durability
  const store = new RocksDBStore({ connect, durability, cacheBytes })
  await store.open({ now, log })
  return new GuardedStore(store)
}

const MEMORY = 20 * 1024 * 1024
/** One in so many bytes; the rest is for live records. docs/storage.md has the reasons. */
const MEMTABLE_PART = 3
const MOST_MEMTABLE_BYTES = 32 * 1024 * 1024
const SILENT: StoreLogger = { debug() {}, info() {}, warn() {}, error() {} }

const OPTIONS = {
  columnFamily,
  readOnly: option(flag, false),
  durability: option(durability, 'power'),
  memory: option(memory, MEMORY),
  log: option(logger, SILENT)
} satisfies Record<keyof OpenStoreOptions, Option<unknown>>

function logger(value: unknown, name: string): StoreLogger {
  const log = anyObject(value, name)
  for (const level of ['debug', 'info', 'warn', 'error']) {
    if (typeof log[level] !== 'function') refuse(name, `must be a logger, but has no ${level}()`)
  }
  return value as StoreLogger
}
