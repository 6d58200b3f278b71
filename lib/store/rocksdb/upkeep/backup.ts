import { readdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { BackupUnusableError, FormatUnsupportedError, isOurs } from '../../../errors.js'
import { META_KEY } from '../../format/keys.js'
import type { FormatMeta } from '../../format/meta.js'
import type { BackupResult, LongOperation } from '../../long-operation.js'
import { loadBinding, type RocksDatabase } from '../engine/binding.js'
import { databaseFailure, isUnreadable } from '../engine/damage.js'
import {
  holdsDatabase,
  type OpenColumnFamily,
  openDatabase,
  openReadOnly
} from '../engine/database.js'
import { readProperties } from '../engine/engine-stats.js'
import { FORMAT_VERSION, isEmpty, writeMeta } from '../format/meta.js'
import { mirror, readThrough } from './mirror.js'

/**
 * A backup is a database like any other, with a mark in its meta entry. The mark says "under way"
 * before the first change and "complete" after the last one is synced, so that half a backup is
 * never taken for a whole one: neither by a restore nor by a server. A restore leaves such a mark
 * in its target. Either goes on, where it was interrupted, when it is run again.
 */
interface Meta extends FormatMeta {
  readonly copy?: CopyMark | undefined
}

interface CopyMark {
  readonly kind: 'backup' | 'restore'
  readonly complete: boolean
  readonly startedAt: string
  readonly completedAt?: string
}

const MEMTABLE_BYTES = 16 * 1024 * 1024

/**
 * Backs up a column family, as it is at this moment, to a folder: a new one, an empty one, or one
 * that holds an earlier backup, of which only the differences are written.
 */
export async function backUp(
  source: OpenColumnFamily,
  folder: string,
  now: () => number,
  stopped: () => boolean,
  options: LongOperation
): Promise<BackupResult> {
  const view = source.db.snapshot()
  try {
    const path = resolve(folder)
    const meta = parseMeta(await source.db.get(META_KEY))
    const present = await inspect(path, source.columnFamily)
    if (present !== null && present.copy?.kind !== 'backup') {
      throw new BackupUnusableError(
        path,
        'holds no backup of sessions',
        'Name a new or empty folder.'
      )
    }
    const startedAt = new Date(now()).toISOString()
    const copy: CopyMark = { kind: 'backup', complete: false, startedAt }
    const finish = (): Meta => ({
      ...meta,
      copy: { ...copy, complete: true, completedAt: new Date(now()).toISOString() }
    })
    const check = (): void => {
      options.signal?.throwIfAborted()
      if (stopped()) throw new Error('the store is closing')
    }
    // An earlier backup may be all that is left of what a damaged file held.
    if (present !== null) await readThrough(view, check)
    const target = { path, begin: { ...meta, copy }, finish }
    return await copyInto(view, source.columnFamily, target, check, options)
  } catch (error) {
    throw failure('write a backup', error, options.signal)
  } finally {
    await view.close()
  }
}

/**
 * Makes a database from a backup.
 *
 * @throws {BackupUnusableError} {@link FormatUnsupportedError} {@link DatabaseLockedError}
 */
export async function restore(
  from: string,
  to: string,
  columnFamily: string,
  options: LongOperation
): Promise<BackupResult> {
  const path = resolve(to)
  const source = await openReadOnly(from, columnFamily)
  try {
    const meta = await readBackupMeta(source)
    const present = await inspect(path, columnFamily)
    if (present !== null && present.copy?.kind !== 'restore') {
      throw new BackupUnusableError(path, 'is not empty', 'Name a new or empty folder.')
    }
    const startedAt = new Date().toISOString()
    const copy: CopyMark = { kind: 'restore', complete: false, startedAt }
    const finish = (): Meta => ({ ...meta, copy: undefined })
    const target = { path, begin: { ...meta, copy }, finish }
    return await copyInto(source.db, columnFamily, target, () => {}, options)
  } catch (error) {
    if (isUnreadable(error)) {
      throw new BackupUnusableError(
        source.path,
        'is damaged',
        '"sled-session verify" tells more. Use an earlier backup, or move what can be read with "sled-session export" and "import".',
        { cause: error }
      )
    }
    throw failure('restore a backup', error, options.signal)
  } finally {
    await source.close()
  }
}

/**
 * Keeps a server from running on half of its sessions. One that opens a complete backup makes it
 * its own: from then on it changes, and is a backup no more.
 *
 * @throws {BackupUnusableError} if a backup or restore into it was interrupted
 */
export async function refuseHalfMade({ db, path, readOnly }: OpenColumnFamily): Promise<void> {
  const bytes = await db.get(META_KEY)
  if (bytes === null) return
  const { copy, ...meta } = parseMeta(bytes)
  if (copy === undefined) return
  if (!copy.complete) throw interrupted(path, copy)
  if (!readOnly) await writeMeta(db, meta)
}

async function readBackupMeta({ db, path }: OpenColumnFamily): Promise<Meta> {
  const bytes = await db.get(META_KEY)
  const meta = bytes === null ? null : parseMeta(bytes)
  if (meta?.copy === undefined) {
    throw new BackupUnusableError(
      path,
      'is no backup',
      'Name a folder that "sled-session backup" or sessions.backup() has made.'
    )
  }
  if (!meta.copy.complete) throw interrupted(path, meta.copy)
  if (meta.format > FORMAT_VERSION) {
    throw new FormatUnsupportedError(path, meta.format, FORMAT_VERSION)
  }
  return meta
}

function interrupted(path: string, { kind, startedAt }: CopyMark): Error {
  return new BackupUnusableError(
    path,
    `holds a ${kind} that was begun at ${startedAt} and not finished`,
    `Run that ${kind} again: it goes on where it was.`
  )
}

/** What a folder that is to be written holds: `null` if nothing. Changes nothing. */
async function inspect(path: string, columnFamily: string): Promise<Meta | null> {
  if (await holdsDatabase(path)) {
    const connection = await openReadOnly(path, columnFamily).catch(async (error: unknown) => {
      // A copy that was killed at its very start leaves a database that is blank.
      const { code } = error as { code?: unknown }
      if (code === 'SLED_SESSION_COLUMN_FAMILY' && (await isBlank(path))) return null
      throw error
    })
    if (connection === null) return null
    try {
      const bytes = await connection.db.get(META_KEY)
      return bytes === null && (await isEmpty(connection.db)) ? null : parseMeta(bytes)
    } finally {
      await connection.close()
    }
  }
  const names = await readdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw new BackupUnusableError(path, `cannot be read (${error.code})`, 'Name another folder.', {
      cause: error
    })
  })
  if (names.length > 0) {
    throw new BackupUnusableError(path, 'holds other files', 'Name a new or empty folder.')
  }
  return null
}

/** Nothing is in RocksDB's own column family; opening to write refuses a database with others. */
async function isBlank(path: string): Promise<boolean> {
  const RocksDB = await loadBinding()
  const db = new RocksDB(path, { readOnly: true })
  try {
    await db.ready()
    return await isEmpty(db)
  } finally {
    await db.close()
  }
}

interface CopyTarget {
  readonly path: string
  /** The meta entry while the copy is under way. */
  readonly begin: Meta
  /** The meta entry of the whole copy. */
  readonly finish: () => Meta
}

async function copyInto(
  source: RocksDatabase,
  columnFamily: string,
  { path, begin, finish }: CopyTarget,
  check: () => void,
  { onProgress, signal }: LongOperation
): Promise<BackupResult> {
  const target = await openDatabase(path, columnFamily, MEMTABLE_BYTES)
  try {
    await writeMeta(target.db, begin)
    const total = (await readProperties(source))['rocksdb.estimate-num-keys'] ?? null
    const result = await mirror(source, target.db, ({ entries }) => {
      signal?.throwIfAborted()
      check()
      onProgress?.({ done: entries, total })
    })
    await target.db.flush()
    await writeMeta(target.db, finish())
    await target.db.flush()
    return result
  } finally {
    await target.close()
  }
}

/** A meta entry that cannot be read is that of no backup. */
function parseMeta(bytes: Buffer | null): Meta {
  try {
    return JSON.parse(String(bytes)) ?? { format: FORMAT_VERSION }
  } catch {
    return { format: FORMAT_VERSION }
  }
}

/** Errors of ours already say what to do, and who aborts wants their own reason. */
function failure(operation: string, error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted === true && error === signal.reason) return error
  return isOurs(error) ? error : databaseFailure(operation, error)
}
