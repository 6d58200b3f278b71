import { FormatUnreadableError, FormatUnsupportedError } from '../../errors.js'
import { META_KEY } from '../format/keys.js'
import { encodeMeta, type FormatMeta, parseMeta } from '../format/meta.js'
import type { Database } from './engine/database.js'

/** The format that this version writes. */
export const FORMAT_VERSION = 1

/**
 * Reads the format of a database; an empty one gets that of this version.
 *
 * @throws {FormatUnsupportedError} {@link FormatUnreadableError}
 */
export async function openFormat(
  database: Database,
  now: number,
  readOnly: boolean
): Promise<FormatMeta> {
  const first = { format: FORMAT_VERSION, createdAt: new Date(now).toISOString() }
  // Of several processes that open an empty database at one time, one writes.
  while (readMeta(database) === null && !readOnly) await writeMeta(database, null, first)
  database.refresh()
  const meta = readMeta(database)?.meta ?? first
  if (meta.format > FORMAT_VERSION) {
    throw new FormatUnsupportedError(database.path, meta.format, FORMAT_VERSION)
  }
  return meta
}

/** @returns `null` if the database is empty */
export function readMeta(database: Database): { meta: FormatMeta; version: number } | null {
  const entry = database.read(database.notes, META_KEY)
  if (entry === null) {
    if (database.isEmpty()) return null
    throw unreadable(database.path, 'but no format entry')
  }
  const meta = parseMeta(entry.bytes)
  if (meta === null) throw unreadable(database.path, 'but a format entry that cannot be read')
  return { meta, version: entry.version }
}

/** Resolves when it is durable, to whether the entry still had this version. */
function writeMeta(database: Database, version: number | null, meta: FormatMeta): Promise<boolean> {
  return database.swapNote(META_KEY, version, encodeMeta(meta))
}

/** Notes when a copy from another store last made the database the same. */
export async function noteCopy(database: Database, at: number): Promise<void> {
  // To the whole ms after it, as nothing that was copied may be later.
  const copied = new Date(Math.ceil(at)).toISOString()
  for (;;) {
    database.refresh()
    const found = readMeta(database)
    if (found === null) return
    if (await writeMeta(database, found.version, { ...found.meta, copied })) return
  }
}

function unreadable(path: string, found: string): Error {
  return new FormatUnreadableError(
    path,
    found,
    'If sessions were in it, see "sled-session verify" and restore a backup.'
  )
}
