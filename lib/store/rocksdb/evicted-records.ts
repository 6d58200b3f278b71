import { HandleTable } from './handle-table.js'
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
  readonly #references = new HandleTable<WeakRef<LiveRecord>>(
    (reference) => reference.deref()?.handle
  )
  /** How far the pass under way has come. */
  #swept: number | null = null
  /** Gone when the garbage collector has been here. */
  #canary = new WeakRef({})

  add(record: LiveRecord): void {
    record.reference ??= new WeakRef(record)
    this.#references.set(record.handle, record.reference)
    if (this.#swept === null) {
      if (this.#canary.deref() !== undefined) return
      this.#canary = new WeakRef({})
      this.#swept = 0
    }
    this.#swept = this.#references.sweep(this.#swept, SWEPT_PER_ADD, isGone)
  }

  /** Gives one back and forgets it. */
  take(handle: string): LiveRecord | undefined {
    const record = this.#references.get(handle)?.deref()
    if (record !== undefined) this.#references.delete(handle)
    return record
  }

  /** Forgets this one, and no newer object of the same session. */
  delete(record: LiveRecord): void {
    if (this.#references.get(record.handle)?.deref() === record) {
      this.#references.delete(record.handle)
    }
  }
}

function isGone(reference: WeakRef<LiveRecord>): boolean {
  return reference.deref() === undefined
}
