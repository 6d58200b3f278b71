import type { RocksDatabase } from './binding.js'

/** What a key holds. */
export interface Entry {
  readonly key: Buffer
  readonly value: Buffer
}

/** The first entries of a range, at most `limit`. Nothing stays open behind them. */
export async function readEntries(
  db: RocksDatabase,
  range: Parameters<RocksDatabase['iterator']>[0],
  limit: number
): Promise<Entry[]> {
  const entries: Entry[] = []
  for await (const entry of db.iterator(range, { limit, capacity: limit })) entries.push(entry)
  return entries
}
