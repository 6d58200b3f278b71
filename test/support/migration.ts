import type { Migration } from '../../lib/store/rocksdb/format/migrations.js'
import type { StoreLogger } from '../../lib/store/session-store.js'

export const TEST_LOG: StoreLogger = { debug() {}, info() {}, warn() {}, error() {} }

/** A step to format 2 that puts a byte behind each record, and moves its key's kind to 0x09. */
export function countingMigration(onEntry: () => void = () => {}): Migration {
  return {
    to: 2,
    range: { gte: Buffer.from([1]), lt: Buffer.from([2]) },
    rewrite(key, value, batch) {
      onEntry()
      batch.tryPut(key, Buffer.concat([value, Buffer.from([7])]))
      const moved = Buffer.from(key)
      moved[0] = 9
      batch.tryPut(moved, Buffer.from([1]))
    }
  }
}
