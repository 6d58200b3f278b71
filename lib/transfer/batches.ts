import type { SessionRecord } from '../record/record.js'
import type { SessionStore } from '../store/session-store.js'

/** The most records in a batch, and the bytes at which it is full before that. */
const BATCH = 128
const BATCH_BYTES = 1024 * 1024

/** Puts records into a store, a batch at a time. */
export class RecordWriter {
  readonly #store: SessionStore
  readonly #onBatch: (written: number) => void
  #batch: SessionRecord[] = []
  #bytes = 0
  written = 0

  /** @param onBatch called after each batch with the sum of all; what it throws ends the work */
  constructor(store: SessionStore, onBatch: (written: number) => void) {
    this.#store = store
    this.#onBatch = onBatch
  }

  async add(record: SessionRecord): Promise<void> {
    this.#batch.push(record)
    this.#bytes += record.size
    if (this.#batch.length === BATCH || this.#bytes >= BATCH_BYTES) await this.flush()
  }

  async flush(): Promise<void> {
    const batch = this.#batch
    this.#batch = []
    this.#bytes = 0
    if (batch.length > 0) await this.#store.putRecords(batch)
    this.written += batch.length
    this.#onBatch(this.written)
  }
}
