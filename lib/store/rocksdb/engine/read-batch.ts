import type { RocksDatabase } from './binding.js'
import { isUnreadable } from './damage.js'

/** What a key holds. */
export interface Entry {
  readonly key: Buffer
  readonly value: Buffer
}

/** The first entries of a range, at most `limit`. Nothing stays open behind them. */
export async function readEntries(
  db: RocksDatabase,
  range: Parameters<RocksDatabase['iterator']>[0],
  limit: number,
  { values = true, reverse = false } = {}
): Promise<Entry[]> {
  const entries: Entry[] = []
  const options = { limit, capacity: limit, values, reverse }
  for await (const entry of db.iterator(range, options)) entries.push(entry)
  return entries
}

/** What each of these keys holds; an error for one that lies in a damaged block. */
export async function readEach(
  db: RocksDatabase,
  keys: readonly Buffer[]
): Promise<(Buffer | null | Error)[]> {
  if (keys.length === 0) return []
  const batch = db.read({ capacity: keys.length, autoDestroy: true })
  const values = keys.map((key) =>
    batch.get(key).catch((error: Error) => {
      if (isUnreadable(error)) return error
      throw error
    })
  )
  batch.tryFlush()
  return Promise.all(values)
}
