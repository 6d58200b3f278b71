import type { LiveRecord } from './live-record.js'

/** How many are looked at for each that comes: more than one, so that the dead go faster. */
const SWEPT_PER_ADD = 2

/**
 * Records that the cache let go of, for as long as anybody has them, such as a session that was
 * kept past its request: no second object may stand for the same session until then.
 *
 * Those that nobody has are swept out as others come. A FinalizationRegistry would do so by
 * itself, but costs more than all the rest of an eviction.
 */
export class EvictedRecords {
  readonly #byHandle = new Map<string, WeakRef<LiveRecord>>()
  /** Goes round: the map gives its entries in the order in which they came. */
  #sweep = this.#byHandle.entries()

  add(record: LiveRecord): void {
    this.#byHandle.set(record.handle, new WeakRef(record))
    for (let looked = 0; looked < SWEPT_PER_ADD; looked++) {
      const { done, value } = this.#sweep.next()
      if (done) {
        this.#sweep = this.#byHandle.entries()
        return
      }
      const [handle, reference] = value
      if (reference.deref() === undefined) this.#byHandle.delete(handle)
    }
  }

  /** Gives one back and forgets it. */
  take(handle: string): LiveRecord | undefined {
    const record = this.#byHandle.get(handle)?.deref()
    this.#byHandle.delete(handle)
    return record
  }

  /** Forgets this one, and no newer object of the same session. */
  delete(record: LiveRecord): void {
    const reference = this.#byHandle.get(record.handle)
    if (reference?.deref() === record) this.#byHandle.delete(record.handle)
  }
}
