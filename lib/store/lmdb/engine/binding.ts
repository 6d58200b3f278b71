import { BindingUnavailableError } from '../../../errors.js'

/** The part of `lmdb` that the store uses: its own types would have to be installed by everybody. */
export interface LmdbTable {
  /** Valid until the next read. */
  getBinaryFast(key: Buffer, options?: { transaction: LmdbSnapshot }): Buffer | undefined
  getKeys(range: LmdbRange): Iterable<Buffer>
  getRange(range: LmdbRange): Iterable<{ key: Buffer; value: Buffer }>
  getStats(): LmdbStats
  put(key: Buffer, value: Buffer, version?: number): Promise<boolean>
  remove(key: Buffer): Promise<boolean>
  /**
   * Writes what `write` asks for if the entry has this version at the moment of the commit, or if
   * there is none for `null`. Resolves when that is flushed, to whether it was so.
   */
  ifVersion(key: Buffer, version: number | null, write: () => void): Promise<boolean>
}

export interface LmdbRange {
  readonly start: Buffer
  readonly end?: Buffer
  readonly exclusiveStart?: boolean
  readonly limit?: number
  readonly transaction?: LmdbSnapshot
}

/** A moment of the database; what is deleted meanwhile keeps its space until it is done. */
export interface LmdbSnapshot {
  done(): void
}

export interface LmdbStats {
  readonly entryCount: number
  readonly pageSize: number
  readonly mapSize: number
  readonly lastPageNumber: number
  readonly numReaders: number
  readonly free: { readonly entryCount: number }
}

export interface LmdbRoot extends LmdbTable {
  readonly env: object
  openDB(name: string, options: object): LmdbTable
  /** Makes the next read see what is stored now. Reads of one turn share a snapshot otherwise. */
  resetReadTxn(): void
  useReadTransaction(): LmdbSnapshot
  /** Writes what `write` asks for in one transaction; resolves when that is flushed. */
  batch(write: () => void): Promise<boolean>
  backup(path: string, compact: boolean): Promise<void>
  readerCheck(): number
  readerList(): string
  close(): Promise<void>
}

export interface LmdbBinding {
  open(path: string, options: object): LmdbRoot
  /** The version of the entry that was read last. */
  getLastVersion(): number
}

/** How `lmdb` is loaded; tests give another. */
export type LoadLmdb = () => Promise<unknown>

/** @throws {BindingUnavailableError} saying how to install it */
export async function loadBinding(load: LoadLmdb = () => import('lmdb')): Promise<LmdbBinding> {
  try {
    return (await load()) as LmdbBinding
  } catch (error) {
    throw new BindingUnavailableError(
      'lmdb',
      error instanceof Error ? error.message : String(error),
      `Install it: "npm install lmdb". It has binaries for Linux, macOS and Windows on x64 and arm64; this is ${process.platform} ${process.arch}.`,
      { cause: error }
    )
  }
}
