import { copyFile, mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { BackupUnusableError, isOurs, StoreUnavailableError } from '../../errors.js'
import { prepareFolder, syncFolder } from '../folder.js'
import type { BackupResult, LongOperation } from '../long-operation.js'
import { DATA, type Database, openDatabase } from './engine/database.js'
import { findDamage } from './engine/header.js'

/** The file that makes a database a backup; a store that opens it to write removes it. */
export const BACKUP_MARK = 'backup.json'
/** The folder in which a copy is made, before it replaces an earlier one. */
const PART = 'part'
const OURS = new Set([DATA, 'lock.mdb', BACKUP_MARK, PART])

/**
 * Copies what is stored at this moment, without the space that is free, to a folder of its own. An
 * earlier backup there is replaced when the new one is whole.
 *
 * @throws {BackupUnusableError} if the folder holds anything else
 */
export async function backUp(
  { root }: Database,
  folder: string,
  now: () => number,
  options: LongOperation
): Promise<BackupResult> {
  const path = resolve(folder)
  await prepareFolder(path)
  await refuseOthers(path)
  return replaceData(path, 'write a backup', options, async (part) => {
    await root.backup(part, true)
    options.signal?.throwIfAborted()
    const mark = { completedAt: new Date(now()).toISOString() }
    await writeFile(join(path, BACKUP_MARK), JSON.stringify(mark), { mode: 0o600 })
  })
}

/**
 * Makes a database from a backup.
 *
 * @throws {BackupUnusableError} if it is none, or the folder is not empty
 */
export async function restore(
  from: string,
  to: string,
  options: LongOperation
): Promise<BackupResult> {
  const source = resolve(from)
  const path = resolve(to)
  if (!(await readdir(source)).includes(BACKUP_MARK)) {
    throw new BackupUnusableError(source, 'holds no backup of sessions', 'Name the folder of one.')
  }
  await prepareFolder(path)
  const present = (await readdir(path)).filter((name) => name !== PART)
  if (present.length > 0) {
    throw new BackupUnusableError(path, 'is not empty', 'Name a new or empty folder.')
  }
  return replaceData(path, 'restore a backup', options, (part) =>
    copyFile(join(source, DATA), join(part, DATA))
  )
}

/** Makes a copy beside what is there, and puts it in its place when it is whole. */
async function replaceData(
  path: string,
  operation: string,
  { signal, onProgress }: LongOperation,
  copyTo: (part: string) => Promise<void>
): Promise<BackupResult> {
  const part = join(path, PART)
  try {
    await rm(part, { recursive: true, force: true })
    await mkdir(part, { mode: 0o700 })
    await copyTo(part)
    signal?.throwIfAborted()
    const entries = await finish(part, path)
    onProgress?.({ done: entries, total: entries })
    return { entries, written: entries, deleted: 0 }
  } catch (error) {
    await rm(part, { recursive: true, force: true })
    if (isOurs(error) || signal?.aborted) throw error
    throw new StoreUnavailableError(operation, { cause: error })
  }
}

async function refuseOthers(path: string): Promise<void> {
  const names = await readdir(path)
  const isBackup = names.includes(BACKUP_MARK)
  if (names.every((name) => OURS.has(name)) && (isBackup || !names.includes(DATA))) return
  throw new BackupUnusableError(path, 'holds no backup of sessions', 'Name a new or empty folder.')
}

/** Puts a whole copy in its place; resolves to how many entries it has. */
async function finish(part: string, path: string): Promise<number> {
  const file = join(part, DATA)
  const damage = await findDamage(file)
  if (damage !== null) throw new BackupUnusableError(path, `is damaged: ${damage}`, 'Use another.')
  const copy = await openDatabase(part, { readOnly: true })
  const tables = [copy.sessions, copy.indexes, copy.notes]
  const entries = tables.reduce((sum, table) => sum + table.getStats().entryCount, 0)
  await copy.close()
  const handle = await open(file, 'r+')
  await handle.chmod(0o600)
  await handle.sync()
  await handle.close()
  await rename(file, join(path, DATA))
  await rm(part, { recursive: true })
  await syncFolder(path)
  return entries
}
