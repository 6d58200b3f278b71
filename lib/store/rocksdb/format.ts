import { FormatUnsupportedError } from '../../errors.js'
import type { RocksDatabase } from './binding.js'
import { META_KEY } from './keys.js'

/** The storage format that this version writes. */
export const FORMAT_VERSION = 1

/**
 * Reads the format that the column family is in; a new one is given this version's.
 *
 * @throws {FormatUnsupportedError} if a newer version wrote it; it is left untouched
 */
export async function ensureFormat(db: RocksDatabase, path: string, now: number): Promise<void> {
  const meta = await db.get(META_KEY)
  if (meta === null) {
    const batch = db.write({ autoDestroy: true })
    batch.tryPut(
      META_KEY,
      Buffer.from(
        JSON.stringify({ format: FORMAT_VERSION, createdAt: new Date(now).toISOString() })
      )
    )
    await batch.flush()
    return
  }
  const { format } = JSON.parse(meta.toString()) as { format: number }
  if (format > FORMAT_VERSION) throw new FormatUnsupportedError(path, format, FORMAT_VERSION)
}
