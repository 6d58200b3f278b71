import { setImmediate } from '../../../timers.js'
import type { RocksDatabase, RocksReadBatch } from './binding.js'

/** Reads values; all reads of one turn of the event loop share one call into the binding. */
export class RecordReader {
  readonly #connection: { readonly db: RocksDatabase }
  #batch: RocksReadBatch | null = null

  constructor(connection: { readonly db: RocksDatabase }) {
    this.#connection = connection
  }

  async read(key: Buffer): Promise<Buffer | null> {
    if (this.#batch === null) {
      const batch = this.#connection.db.read({ autoDestroy: true })
      this.#batch = batch
      setImmediate(() => {
        this.#batch = null
        batch.tryFlush()
      })
    }
    return this.#batch.get(key)
  }
}
