import { stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { ColumnFamilyError, DatabaseLockedError, PathUnusableError } from '../../../errors.js'
import { prepareFolder } from '../../folder.js'
import { keepFilesPrivate } from '../../private-files.js'
import { loadBinding, type RocksBinding, type RocksDatabase } from './binding.js'
import { claimFolder, refuseIfOpenHere } from './claim.js'
import { type LockWait, whenFree } from './lock-wait.js'
import { removeOldLogs } from './old-logs.js'
import { explainOpenFailure } from './open-failure.js'

/** An open column family and how to let go of it. */
export interface OpenColumnFamily {
  /** Another one after {@link reopen}: not to be kept. */
  readonly db: RocksDatabase
  readonly path: string
  readonly columnFamily: string
  /** Nothing can be written. Another process may have the database open too. */
  readonly readOnly: boolean
  /**
   * What is wrong with the write-ahead log of a database that is open to look at: what was written
   * after the damage is not seen. `null` if nothing is.
   */
  readonly damage: string | null
  /**
   * Closes the database, if it is not closed already, and opens it again. While it is closed, all
   * that is asked of `db` fails. Only for a database of our own.
   */
  reopen?(): Promise<void>
  close(): Promise<void>
}

const WRITE_BUFFERS = 2

/**
 * Opens the database in a folder, which is made if it does not exist.
 *
 * @param memtableBytes for all memtables together
 * @param lockWait whether to wait for another process that is about to let go of it
 * @throws {PathUnusableError} {@link DatabaseLockedError} {@link ColumnFamilyError}
 *   {@link DatabaseOpenError}
 */
export async function openDatabase(
  folder: string,
  columnFamily: string,
  memtableBytes: number,
  lockWait: LockWait | null = null
): Promise<OpenColumnFamily> {
  const path = resolve(folder)
  // The binding hangs for ever on a folder that cannot be made, so it never gets to see one.
  await prepareFolder(path)
  const RocksDB = await loadBinding()
  const giveUp = await claimFolder(path, {})
  let current: { root: RocksDatabase; db: RocksDatabase }
  try {
    await refuseIfOpenHere(path)
    current = await whenFree(path, lockWait, () =>
      openRoot(RocksDB, path, columnFamily, memtableBytes)
    )
  } catch (error) {
    giveUp()
    throw error
  }
  const closeRoot = async (): Promise<void> => {
    const { db, root } = current
    if (!db.closed) await db.close()
    if (!root.closed) await root.close()
  }
  const releaseFiles = await keepFilesPrivate(path)
  return {
    get db() {
      return current.db
    },
    path,
    columnFamily,
    readOnly: false,
    damage: null,
    async reopen() {
      await closeRoot()
      current = await openRoot(RocksDB, path, columnFamily, memtableBytes)
    },
    async close() {
      await closeRoot()
      await releaseFiles()
      giveUp()
    }
  }
}

async function openRoot(
  RocksDB: RocksBinding,
  path: string,
  columnFamily: string,
  memtableBytes: number
): Promise<{ root: RocksDatabase; db: RocksDatabase }> {
  const family = new RocksDB.ColumnFamily(columnFamily, {
    writeBufferSize: Math.floor(memtableBytes / WRITE_BUFFERS),
    maxWriteBufferNumber: WRITE_BUFFERS,
    // Live records are the better cache: they need no reading, and hold nothing but sessions.
    blockCache: false,
    // So RocksDB keeps indexes and filters with the open files.
    tableCacheIndexAndFilterBlocks: false,
    // Half of the default: a read is for one session, and its neighbours in the block are strangers.
    tableBlockSize: 4096
  })
  const root = new RocksDB(path, {
    columnFamilies: [family],
    maxBackgroundJobs: 2,
    // A log whose end is torn is what a kill leaves: what is missing was not acknowledged. RocksDB's
    // default also drops all that comes after damage in its midst, and with it logouts, silently.
    walRecoveryMode: RocksDB.constants.walRecoveryMode.TOLERATE_CORRUPTED_TAIL_RECORDS
  })
  try {
    await root.ready()
  } catch (error) {
    throw await explainOpenFailure(path, columnFamily, error as Error)
  }
  await removeOldLogs(path)
  return { root, db: root.columnFamily(family) }
}

/**
 * Opens a database as it is at this moment, to look at it. Whoever holds it goes on undisturbed,
 * and what is written from here on is not seen.
 *
 * @throws {PathUnusableError} if there is none
 */
export async function openReadOnly(
  folder: string,
  columnFamily: string
): Promise<OpenColumnFamily> {
  const path = resolve(folder)
  if (!(await holdsDatabase(path))) {
    throw new PathUnusableError(path, 'there is no database in it', 'Name the folder of one.')
  }
  const RocksDB = await loadBinding()
  const { TOLERATE_CORRUPTED_TAIL_RECORDS, POINT_IN_TIME } = RocksDB.constants.walRecoveryMode
  const openIn = async (walRecoveryMode: number): Promise<RocksDatabase> => {
    const root = new RocksDB(path, {
      columnFamilies: [columnFamily],
      readOnly: true,
      walRecoveryMode
    })
    await root.ready()
    return root
  }
  let damage: string | null = null
  const root = await openIn(TOLERATE_CORRUPTED_TAIL_RECORDS).catch((error: Error) => {
    damage = error.message
    return openIn(POINT_IN_TIME).catch(async () => {
      throw await explainOpenFailure(path, columnFamily, error)
    })
  })
  const db = root.columnFamily(columnFamily)
  return {
    db,
    path,
    columnFamily,
    readOnly: true,
    damage,
    async close() {
      await db.close()
      await root.close()
    }
  }
}

/** Whether RocksDB has made a database in this folder. */
export async function holdsDatabase(path: string): Promise<boolean> {
  try {
    return (await stat(join(path, 'CURRENT'))).isFile()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return false
    throw new PathUnusableError(
      path,
      `it cannot be read (${code})`,
      'Give this process the right to read there.',
      { cause: error }
    )
  }
}

/** Uses a database that the application has open, and leaves it open. */
export async function borrowDatabase(
  database: RocksDatabase,
  columnFamily: string
): Promise<OpenColumnFamily> {
  const path = resolve(String(database.path))
  const borrowed = borrowedFamilies.get(database) ?? new Set()
  if (borrowed.has(columnFamily)) {
    throw new DatabaseLockedError(
      path,
      `another registration, which has its column family "${columnFamily}"`,
      'give each registration a columnFamily of its own.'
    )
  }
  let db: RocksDatabase
  try {
    db = database.columnFamily(columnFamily)
    await database.ready()
  } catch (error) {
    if ((error as Error).message === 'Unknown column family') {
      throw new ColumnFamilyError(
        path,
        `was opened without the column family "${columnFamily}"`,
        `Open it with new RocksDB(path, { columnFamilies: ['${columnFamily}'] }).`
      )
    }
    throw await explainOpenFailure(path, columnFamily, error as Error)
  }
  let giveUp: () => void
  try {
    giveUp = await claimFolder(path, database)
  } catch (error) {
    await db.close()
    throw error
  }
  borrowedFamilies.set(database, borrowed.add(columnFamily))
  const close = async (): Promise<void> => {
    borrowed.delete(columnFamily)
    giveUp()
    await db.close()
  }
  return { db, path, columnFamily, readOnly: false, damage: null, close }
}

/** Two stores on one column family would each serve what the other has changed or ended. */
const borrowedFamilies = new WeakMap<object, Set<string>>()
