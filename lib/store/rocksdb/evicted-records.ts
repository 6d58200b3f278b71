import type { LiveRecord } from './live-record.js'

/** How many are looked at for each that comes: more than one, so that a pass comes to its end. */
const SWEPT_PER_ADD = 4

/**
 * Records that the cache let go of, for as long as anybody has them, such as a session that was
 * kept past its request: no second object may stand for the same session until then.
 *
 * Those that nobody has are swept out as others come, in one pass after each run of the garbage
 * collector: before that, none is gone. A FinalizationRegistry would do so by itself, but costs more
 * than all the rest of an eviction.
 */
export class EvictedRecords {
  readonly #byHandle = new Map<string, WeakRef<LiveRecord>>()
  /** The pass under way, in the order in which they came. */
  #sweep: MapIterator<[string, WeakRef<LiveRecord>]> | null = null
  /** Gone when the garbage collector has been here. */
  #canary = new WeakRef({})

  add(record: LiveRecord): void {
    record.reference ??= new WeakRef(record)
    this.#byHandle.set(record.handle, record.reference)
    if (this.#sweep === null) {
      if (this.#canary.deref() !== undefined) return
      this.#canary = new WeakRef({})
      this.#sweep = this.#byHandle.entries()
    }
    for (let looked = 0; looked < SWEPT_PER_ADD; looked++) {
      const { done, value } = this.#sweep.next()
      if (done) {
        this.#sweep = null
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
