import { RecordCorruptError } from '../../../errors.js'
import { handleIn } from '../../format/keys.js'
import { type PartBytes, partKeysOf } from '../../format/record-codec.js'
import type { RocksDatabase } from './binding.js'
import { type Entry, readEach } from './read-batch.js'

/** What each of these records keeps apart; an error for one that does not decode, or not be read. */
export async function readParts(
  db: RocksDatabase,
  records: readonly Entry[]
): Promise<(PartBytes | Error)[]> {
  const keys = records.map(({ key, value }) => keysIn(key, value))
  const found = await readEach(
    db,
    keys.flatMap((those) => (those instanceof Error ? [] : those))
  )
  let at = 0
  return keys.map((those) => {
    if (those instanceof Error) return those
    const parts = found.slice(at, at + those.length)
    at += those.length
    return parts.find((part) => part instanceof Error) ?? (parts as PartBytes)
  })
}

function keysIn(key: Buffer, value: Buffer): readonly Buffer[] | Error {
  try {
    return partKeysOf(handleIn(key), value, key)
  } catch (error) {
    if (error instanceof RecordCorruptError) return error
    throw error
  }
}
