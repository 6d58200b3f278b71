import { statfsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { DatabaseOpenError, PathUnusableError, StoreUnavailableError } from '../../../errors.js'
import { nextTurn } from '../../../timers.js'
import { prepareFolder } from '../../folder.js'
import {
  type LmdbBinding,
  type LmdbRange,
  type LmdbRoot,
  type LmdbSnapshot,
  type LmdbTable,
  type LoadLmdb,
  loadBinding
} from './binding.js'
import { findDamage } from './header.js'
import { refuseNetworkFolder } from './network-folder.js'
import { isBeingOpened, markIn, openMarked, untilOpened } from './opening-mark.js'
import { newBirth, nextVersion } from './version.js'

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
  readonly #mark: string
  #isClosed = false

  constructor(path: string, binding: LmdbBinding, root: LmdbRoot) {
    this.path = path
    this.#binding = binding
    this.#root = root
    this.#mark = markIn(path)
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
    // A read in a database that is closing makes the binding throw in a timer: the process would end.
    if (this.#isClosed) throw new Error('the database is closed')
    this.#root.resetReadTxn()
  }

  read(table: LmdbTable, key: Buffer): VersionedBytes | null {
    const bytes = table.getBinaryFast(key)
    if (bytes === undefined) return null
    const version = this.#binding.getLastVersion()
    // The binding reads into one large buffer and overwrites its length.
    return { bytes: bytes.subarray(0, bytes.length), version }
  }

  /** The version alone costs half: it needs no object that stands for the bytes. */
  versionOf(table: LmdbTable, key: Buffer): number | null {
    return table.getBinaryFast(key) === undefined ? null : this.#binding.getLastVersion()
  }

  /**
   * Commits what `write` asks for as one. The binding would make one transaction of a whole turn of
   * the event loop by itself, but with a promise for it that nobody gets, and whose rejection, as
   * for a full disk, would end the process.
   */
  inOneTransaction(write: () => void): void {
    // Whoever has asked for a part of it hears how that ended.
    this.#root.batch(write).catch(() => {})
  }

  /** As the table's own; rejects with the reason why LMDB has refused. */
  ifVersion(
    table: LmdbTable,
    key: Buffer,
    version: number | null,
    write: () => void
  ): Promise<boolean> {
    return table.ifVersion(key, version, write).catch(rejectWithReason)
  }

  /**
   * Looks before each transaction whether the disk takes so many bytes more, since LMDB does not bear
   * one that is full: what a refused page leaves behind in memory ends the process some commits later.
   *
   * @throws {StoreUnavailableError}
   */
  requireSpace(bytes: number): void {
    const { bavail, bsize } = statfsSync(this.path)
    if (bavail * bsize < LEAST_FREE_BYTES + bytes) {
      throw new StoreUnavailableError(`write to "${this.path}": the disk is full`)
    }
  }

  /** Whether what is committed now may be taken back, see {@link openMarked}. */
  get isBeingOpened(): boolean {
    return isBeingOpened(this.#mark)
  }

  /** Resolves when what is committed stays. */
  untilOpened(): Promise<void> {
    return untilOpened(this.#mark)
  }

  /**
   * Puts or, with `null`, removes a note if it still has this version. Resolves when that is durable,
   * to whether it was done.
   */
  async swapNote(key: Buffer, version: number | null, value: Buffer | null): Promise<boolean> {
    await this.untilOpened()
    this.requireSpace(0)
    const swapped = await this.ifVersion(this.notes, key, version, () => {
      if (value === null) this.notes.remove(key)
      else this.notes.put(key, value, nextVersion(newBirth(0)))
    })
    if (!swapped) return false
    await this.untilOpened()
    this.refresh()
    return this.versionOf(this.notes, key) !== version
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

  /** All tables as they are at this moment; to be ended. */
  snapshot(): Snapshot {
    this.refresh()
    return new Snapshot(this, this.#root.useReadTransaction())
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#root.close()
  }
}

/** The binding says it in a promise of its own, whose rejection somebody has to hear. */
async function rejectWithReason(error: Error & { commitError?: Promise<never> }): Promise<never> {
  await Promise.race([error.commitError, nextTurn()])
  throw error
}

type TableName = 'sessions' | 'indexes' | 'notes'

/** One moment of a database. */
export class Snapshot {
  readonly #database: Database
  readonly #transaction: LmdbSnapshot

  constructor(database: Database, transaction: LmdbSnapshot) {
    this.#database = database
    this.#transaction = transaction
  }

  get(table: TableName, key: Buffer): Buffer | null {
    const bytes = this.#database[table].getBinaryFast(key, { transaction: this.#transaction })
    return bytes === undefined ? null : Buffer.from(bytes.subarray(0, bytes.length))
  }

  entries(table: TableName, range: LmdbRange): { key: Buffer; value: Buffer }[] {
    const transaction = this.#transaction
    return [...this.#database[table].getRange({ ...range, transaction })].map(({ key, value }) => ({
      key,
      value: Buffer.from(value)
    }))
  }

  end(): void {
    this.#transaction.done()
  }
}

/** What other processes write between the look and the commit has its place here. */
const LEAST_FREE_BYTES = 2 * 1024 * 1024
const BINARY = { encoding: 'binary', keyEncoding: 'binary' } as const
/** Each thread of each process takes one, and one more while it walks. */
const MOST_READERS = 2048

/** What LMDB says when it refuses the first read of a process. */
const NO_READER = 22
const REFUSED = `LMDB refuses this process to read there, as where one of another container that has the same number (${process.pid}) has it open`
const SHARE =
  'LMDB tells processes apart by their numbers: let the containers share a pid namespace.'

/** How a database is opened. */
export interface OpenOptions {
  readonly load?: LoadLmdb | undefined
  /** Looks at one that is there; nothing can be written. */
  readonly readOnly?: boolean
}

/**
 * Opens the database in a folder, which is made if it does not exist.
 *
 * @throws {PathUnusableError} {@link DatabaseOpenError} {@link BindingUnavailableError}
 */
export async function openDatabase(folder: string, options: OpenOptions = {}): Promise<Database> {
  const { load, readOnly = false } = options
  const path = resolve(folder)
  if (!readOnly) await prepareFolder(path)
  else if (!(await holdsDatabase(path))) {
    throw new PathUnusableError(path, 'there is no database in it', 'Name the folder of one.')
  }
  await refuseNetworkFolder(path)
  await refuseOtherDatabase(path)
  const damage = (await holdsDatabase(path)) ? await findDamage(join(path, DATA)) : null
  if (damage !== null) throw new DatabaseOpenError(path, damage)
  const binding = await loadBinding(load)
  let root: LmdbRoot | undefined
  try {
    return await openMarked(path, () => {
      root = binding.open(path, {
        ...BINARY,
        readOnly,
        // Or a folder with a dot in its name would be taken for a file.
        noSubdir: false,
        maxReaders: MOST_READERS,
        // Commits do not wait for the disk while they keep other processes from theirs.
        overlappingSync: !readOnly && process.platform !== 'win32',
        separateFlushed: true,
        eventTurnBatching: false,
        // Keys are hashes: the pages beside that of a session are of no use to whoever reads it,
        // and would take the place of those that are.
        noReadAhead: true
      })
      refuseForeignTables(path, root)
      return new Database(path, binding, root)
    })
  } catch (error) {
    // One that has no place among the readers cannot be closed either.
    if ((error as { code?: unknown }).code === NO_READER) {
      throw new PathUnusableError(path, REFUSED, SHARE, { cause: error })
    }
    await root?.close()
    if (error instanceof PathUnusableError) throw error
    throw new DatabaseOpenError(path, (error as Error).message, { cause: error })
  }
}

/** The name of the file that holds all of a database. */
export const DATA = 'data.mdb'

/** Whether LMDB has made a database in this folder. */
export async function holdsDatabase(path: string): Promise<boolean> {
  return isFile(join(path, DATA))
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
