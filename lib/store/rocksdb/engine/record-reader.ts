import { setImmediate } from '../../../timers.js'
import type { PartBytes } from '../../format/record-codec.js'
import type { RocksDatabase, RocksReadBatch } from './binding.js'
import { readEach } from './read-batch.js'
import { readParts } from './read-parts.js'

export interface WholeRecord {
  readonly bytes: Buffer
  readonly parts: PartBytes
}

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

  /** A record and what it keeps apart, at one moment. */
  async readWhole(key: Buffer): Promise<WholeRecord | null> {
    const view = this.#connection.db.snapshot()
    try {
      const [bytes = null] = await readEach(view, [key])
      if (bytes === null) return null
      if (bytes instanceof Error) throw bytes
      const [parts = []] = await readParts(view, [{ key, value: bytes }])
      if (parts instanceof Error) throw parts
      return { bytes, parts }
    } finally {
      await view.close()
    }
  }
}
