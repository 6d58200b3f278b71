import { explainLoadFailure } from './load-failure.js'

/** The part of `rocksdb-native` (which ships no types) that the store uses. */
export interface RocksDatabase {
  readonly opened: boolean
  readonly closed: boolean
  readonly path: string
  ready(): Promise<void>
  close(options?: { force?: boolean }): Promise<void>
  columnFamily(name: string | object): RocksDatabase
  /** The same column family as it is at this moment; to be closed. */
  snapshot(): RocksDatabase
  iterator(
    range: { gt?: Buffer | undefined; gte?: Buffer | undefined; lt?: Buffer; lte?: Buffer },
    options?: { limit?: number; capacity?: number; values?: boolean; reverse?: boolean }
  ): AsyncIterable<{ key: Buffer; value: Buffer }>
  /** A property by its RocksDB name, as text; `undefined` if there is none of that name. */
  getProperty(name: string): Promise<string | undefined>
  get(key: Buffer): Promise<Buffer | null>
  /** Writes the memtable of this column family to a file, synced. */
  flush(): Promise<void>
  /** The write-ahead log that the next write goes to; files have ascending numbers. */
  currentWalFile(): Promise<{ number: number }>
  read(options?: { capacity?: number; autoDestroy?: boolean }): RocksReadBatch
  write(options?: { capacity?: number; autoDestroy?: boolean }): RocksWriteBatch
  /** Takes texts alone: a Buffer is taken for options, and the whole column family compacted. */
  compactRange(start: string, end: string): Promise<void>
}

export interface RocksReadBatch {
  get(key: Buffer): Promise<Buffer | null>
  tryFlush(): void
}

export interface RocksWriteBatch {
  tryPut(key: Buffer, value: Buffer): void
  tryDelete(key: Buffer): void
  flush(): Promise<void>
  /** Gives it back unwritten. */
  destroy(): void
}

type WalRecoveryMode = 'TOLERATE_CORRUPTED_TAIL_RECORDS' | 'POINT_IN_TIME'

export interface RocksBinding {
  new (path: string, options: object): RocksDatabase
  ColumnFamily: new (name: string, options: object) => object
  readonly constants: { readonly walRecoveryMode: Readonly<Record<WalRecoveryMode, number>> }
}

/**
 * Loads the native module only when a database is opened, so that applications on another store
 * need not have it.
 *
 * @throws {BindingUnavailableError} naming what is missing
 */
export async function loadBinding(
  load: () => Promise<unknown> = () => import('rocksdb-native' as string)
): Promise<RocksBinding> {
  try {
    return ((await load()) as { default: RocksBinding }).default
  } catch (error) {
    throw explainLoadFailure(error)
  }
}
