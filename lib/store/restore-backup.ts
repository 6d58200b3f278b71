import { readOptions } from '../record/option.js'
import { restore as restoreLmdb } from './lmdb/backup.js'
import { holdsDatabase as holdsLmdb } from './lmdb/engine/database.js'
import { type BackupResult, LONG_OPERATION, type LongOperation } from './long-operation.js'
import { restore as restoreRocksDB } from './rocksdb/upkeep/backup.js'
import { folder as checkFolder, columnFamily as named } from './store-options.js'

/**
 * Makes a database from a backup, of the kind that the backup is. No server may have either of
 * them open.
 *
 * ```ts
 * const { entries } = await restoreBackup('/backups/sessions', './storage')
 * ```
 *
 * @param from the folder of a complete backup, which is left as it is
 * @param to a new or empty folder, or one in which a restore was interrupted
 * @throws {BackupUnusableError} {@link FormatUnsupportedError} {@link DatabaseLockedError}
 */
export async function restoreBackup(
  from: string,
  to: string,
  options: LongOperation & { columnFamily?: string } = {}
): Promise<BackupResult> {
  checkFolder(from, 'from')
  checkFolder(to, 'to')
  const { columnFamily } = readOptions({ ...LONG_OPERATION, columnFamily: named }, options)
  if (await holdsLmdb(from)) return restoreLmdb(from, to, options)
  return restoreRocksDB(from, to, columnFamily, options)
}
