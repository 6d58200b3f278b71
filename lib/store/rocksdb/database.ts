import { resolve } from 'node:path'
import { ColumnFamilyError, DatabaseLockedError, DatabaseOpenError } from '../../errors.js'
import { loadBinding, type RocksDatabase } from './binding.js'
import { prepareFolder } from './folder.js'

/** An open column family and how to let go of it. */
export interface OpenColumnFamily {
  readonly db: RocksDatabase
  readonly path: string
  close(): Promise<void>
}

const WRITE_BUFFERS = 2

/**
 * Opens the database in a folder, which is made if it does not exist.
 *
 * @param memtableBytes for all memtables together
 * @throws {PathUnusableError} {@link DatabaseLockedError} {@link ColumnFamilyError}
 *   {@link DatabaseOpenError}
 */
export async function openDatabase(
  folder: string,
  columnFamily: string,
  memtableBytes: number
): Promise<OpenColumnFamily> {
  const path = resolve(folder)
  // The binding hangs for ever on a folder that cannot be made, so it never gets to see one.
  await prepareFolder(path)
  const RocksDB = await loadBinding()
  const family = new RocksDB.ColumnFamily(columnFamily, {
    writeBufferSize: Math.floor(memtableBytes / WRITE_BUFFERS),
    maxWriteBufferNumber: WRITE_BUFFERS
  })
  const root = new RocksDB(path, { columnFamilies: [family], maxBackgroundJobs: 2 })
  try {
    await root.ready()
  } catch (error) {
    throw explainOpenFailure(path, columnFamily, error as Error)
  }
  const db = root.columnFamily(family)
  return {
    db,
    path,
    async close() {
      await db.close()
      await root.close()
    }
  }
}

/** Uses a database that the application has open, and leaves it open. */
export async function borrowDatabase(
  database: RocksDatabase,
  columnFamily: string
): Promise<OpenColumnFamily> {
  const path = resolve(String(database.path))
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
    throw explainOpenFailure(path, columnFamily, error as Error)
  }
  return { db, path, close: () => db.close() }
}

function explainOpenFailure(path: string, columnFamily: string, error: Error): Error {
  const reason = error.message
  if (/lock hold by current process/i.test(reason)) {
    return new DatabaseLockedError(
      path,
      'another opener in this process',
      'register the plugin once, give each registration a path of its own, or open the database yourself and hand it to each as "db" with a columnFamily of its own.',
      { cause: error }
    )
  }
  if (/LOCK/.test(reason)) {
    return new DatabaseLockedError(
      path,
      'another process',
      'stop it first, or give this one a path of its own. Several processes can share sessions only through a store made for that, such as Redis or Valkey.',
      { cause: error }
    )
  }
  const families = /Column families not opened: (.*)/i.exec(reason)
  if (families !== null) {
    return new ColumnFamilyError(
      path,
      `has column families beside "${columnFamily}": ${families[1]}`,
      'It belongs to an application of its own: choose another path, or open it there and hand it in as "db".',
      { cause: error }
    )
  }
  return new DatabaseOpenError(path, reason, { cause: error })
}
