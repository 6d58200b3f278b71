import { FormatUnreadableError, FormatUnsupportedError } from '../../../errors.js'
import { META_KEY } from '../../format/keys.js'
import { encodeMeta, type FormatMeta, parseMeta } from '../../format/meta.js'
import type { RocksDatabase } from '../engine/binding.js'
import type { OpenColumnFamily } from '../engine/database.js'

/** The format that this version writes. */
export const FORMAT_VERSION = 2

/**
 * Reads the format that a column family is in, and changes nothing.
 *
 * @returns `null` if the column family is empty
 * @throws {FormatUnsupportedError} if a newer version wrote it
 * @throws {FormatUnreadableError} if it is not this plugin's, or its format cannot be told
 */
export async function checkFormat(
  { db, path, columnFamily }: OpenColumnFamily,
  known = FORMAT_VERSION
): Promise<FormatMeta | null> {
  const bytes = await db.get(META_KEY)
  if (bytes === null) {
    if (!(await isEmpty(db))) throw unreadable(path, columnFamily, 'no format entry')
    return null
  }
  const meta = parseMeta(bytes)
  if (meta === null) throw unreadable(path, columnFamily, 'a format entry that cannot be read')
  if (meta.format > known) throw new FormatUnsupportedError(path, meta.format, known)
  return meta
}

/** Gives an empty column family the format of this version. */
export async function writeFirstMeta(db: RocksDatabase, now: number): Promise<FormatMeta> {
  const meta = { format: FORMAT_VERSION, createdAt: new Date(now).toISOString() }
  await writeMeta(db, meta)
  return meta
}

export async function writeMeta(db: RocksDatabase, meta: FormatMeta): Promise<void> {
  const batch = db.write({ autoDestroy: true })
  batch.tryPut(META_KEY, encodeMeta(meta))
  await batch.flush()
}

export async function isEmpty(db: RocksDatabase): Promise<boolean> {
  for await (const _ of db.iterator({ gte: META_KEY }, { limit: 1, values: false })) return false
  return true
}

function unreadable(path: string, columnFamily: string, found: string): Error {
  return new FormatUnreadableError(
    path,
    `in the column family "${columnFamily}", but ${found}`,
    'If it belongs to an application of its own, choose another "columnFamily" or "path". If sessions were in it, see "sled-session verify" and restore a backup.'
  )
}
