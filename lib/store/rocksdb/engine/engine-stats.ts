import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { recordRange } from '../../format/keys.js'
import type { RocksDatabase } from './binding.js'
import { Walk } from './walk.js'

/** RocksDB's properties that are numbers and cost no more than reading them. */
const PROPERTIES = [
  'rocksdb.estimate-num-keys',
  'rocksdb.estimate-live-data-size',
  'rocksdb.total-sst-files-size',
  'rocksdb.num-files-at-level0',
  'rocksdb.cur-size-all-mem-tables',
  'rocksdb.size-all-mem-tables',
  'rocksdb.block-cache-usage',
  'rocksdb.block-cache-capacity',
  'rocksdb.estimate-table-readers-mem',
  'rocksdb.num-running-flushes',
  'rocksdb.num-running-compactions',
  'rocksdb.estimate-pending-compaction-bytes',
  'rocksdb.actual-delayed-write-rate',
  'rocksdb.is-write-stopped',
  'rocksdb.background-errors',
  'rocksdb.num-snapshots'
]

export async function readProperties(db: RocksDatabase): Promise<Record<string, number>> {
  const values = await Promise.all(PROPERTIES.map((name) => db.getProperty(name)))
  const known = PROPERTIES.map((name, at) => [name, Number(values[at])] as const)
  return Object.fromEntries(known.filter(([, value]) => Number.isFinite(value)))
}

const SAMPLE = 256
const HASH_SPACE = 2 ** 48

/**
 * How many records there are, exactly up to 255, and from there on by how close together the
 * first ones lie: hashes are spread evenly, so that 256 of them tell the number of all with a
 * standard error of 6 %. RocksDB's own estimate counts index entries and deleted keys too.
 */
export async function estimateRecords(db: RocksDatabase): Promise<number> {
  const keys: Buffer[] = []
  for await (const entries of new Walk({ db }, recordRange(), { limit: SAMPLE, values: false })) {
    for (const { key } of entries) keys.push(key)
    if (keys.length >= SAMPLE) break
  }
  const last = keys[SAMPLE - 1]
  if (last === undefined) return keys.length
  return Math.round((SAMPLE - 1) / ((last.readUIntBE(1, 6) + 1) / HASH_SPACE))
}

/** What the files of a database take, in bytes. */
export async function folderSize(folder: string): Promise<number> {
  const names = await readdir(folder)
  // A file may go while we look: RocksDB replaces them all the time.
  const sizes = names.map((name) =>
    stat(join(folder, name)).then(
      ({ size }) => size,
      () => 0
    )
  )
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}
