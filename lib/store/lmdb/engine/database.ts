import { stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { DatabaseOpenError, PathUnusableError } from '../../../errors.js'
import { prepareFolder } from '../../folder.js'
import {
  type LmdbBinding,
  type LmdbRange,
  type LmdbRoot,
  type LmdbTable,
  type LoadLmdb,
  loadBinding
} from './binding.js'
import { refuseNetworkFolder } from './network-folder.js'

/** An entry and the version of it, by which its change is noticed. */
export interface VersionedBytes {
  /** Valid until the next read. */
  readonly bytes: Buffer
  readonly version: number
}

/** An open database. Reads give what is stored at the last {@link refresh}, or later. */
export class Database {
  readonly path: string
  /** Records, with versions. */
  readonly sessions: LmdbTable
  /** Entries of the expiry index and of the principal index. */
  readonly indexes: LmdbTable
  /** Format, quarantine and leases; those have versions. */
  readonly notes: LmdbTable
  readonly #binding: LmdbBinding
  readonly #root: LmdbRoot

  constructor(path: string, binding: LmdbBinding, root: LmdbRoot) {
    this.path = path
    this.#binding = binding
    this.#root = root
    this.sessions = root.openDB('sessions', { ...BINARY, useVersions: true })
    this.indexes = root.openDB('indexes', BINARY)
    this.notes = root.openDB('notes', { ...BINARY, useVersions: true })
  }

  get root(): LmdbRoot {
    return this.#root
  }

  /**
   * From here on reads see what any process has committed so far. Without it they would see one
   * moment for a turn or longer, and a session that another process has just ended would live on.
   */
  refresh(): void {
    this.#root.resetReadTxn()
  }

  read(table: LmdbTable, key: Buffer): VersionedBytes | null {
    const bytes = table.getBinaryFast(key)
    if (bytes === undefined) return null
    const version = this.#binding.getLastVersion()
    // The binding reads into one large buffer and overwrites its length.
    return { bytes: bytes.subarray(0, bytes.length), version }
  }

  /** Neither sessions nor anything of them. */
  isEmpty(): boolean {
    return [this.sessions, this.indexes, this.notes].every(
      (table) => table.getStats().entryCount === 0
    )
  }

  /** All keys of a range, or as many as asked for, at this moment. */
  keys(table: LmdbTable, range: LmdbRange): Buffer[] {
    return [...table.getKeys(range)]
  }

  async close(): Promise<void> {
    await this.#root.close()
  }
}

const BINARY = { encoding: 'binary', keyEncoding: 'binary' } as const
/** Each thread of each process takes one, and one more while it walks. */
const MOST_READERS = 2048

/**
 * Opens the database in a folder, which is made if it does not exist.
 *
 * @throws {PathUnusableError} {@link DatabaseOpenError} {@link BindingUnavailableError}
 */
export async function openDatabase(folder: string, load?: LoadLmdb): Promise<Database> {
  const path = resolve(folder)
  await prepareFolder(path)
  await refuseNetworkFolder(path)
  await refuseOtherDatabase(path)
  const binding = await loadBinding(load)
  let root: LmdbRoot | undefined
  try {
    root = binding.open(path, {
      ...BINARY,
      // Or a folder with a dot in its name would be taken for a file.
      noSubdir: false,
      maxReaders: MOST_READERS,
      // Commits do not wait for the disk while they keep other processes from theirs.
      overlappingSync: process.platform !== 'win32',
      separateFlushed: true
    })
    refuseForeignTables(path, root)
    return new Database(path, binding, root)
  } catch (error) {
    await root?.close()
    if (error instanceof PathUnusableError) throw error
    throw new DatabaseOpenError(path, (error as Error).message, { cause: error })
  }
}

/** Whether LMDB has made a database in this folder. */
export async function holdsDatabase(path: string): Promise<boolean> {
  return isFile(join(path, 'data.mdb'))
}

async function refuseOtherDatabase(path: string): Promise<void> {
  if (await isFile(join(path, 'CURRENT'))) {
    throw new PathUnusableError(
      path,
      'there is a RocksDB database in it',
      'Name another folder, and copy the sessions with "sled-session copy".'
    )
  }
}

const TABLES = ['indexes', 'notes', 'sessions']

/** The names of all tables are entries of the root. */
function refuseForeignTables(path: string, root: LmdbRoot): void {
  const names = [...root.getKeys({ start: Buffer.from([0]) })].map((key) =>
    key.toString('latin1').replace(/\0$/, '')
  )
  if (names.every((name) => TABLES.includes(name))) return
  throw new PathUnusableError(
    path,
    'there is an LMDB database of another application in it',
    'Name another folder.'
  )
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return false
    throw error
  }
}
