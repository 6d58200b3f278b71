import type { CacheStats } from '../stats.js'
import type { LiveRecord } from './live-record.js'

const TURNS_PER_EVICTION = 256

/**
 * The live records in memory, bounded by bytes. It evicts by the clock algorithm, which
 * approximates least-recently-used while a hit costs one assignment. A record that somebody
 * holds, or that has a write under way, is never evicted; one that was, but that somebody kept
 * after releasing it, comes back as the same object.
 */
export class RecordCache {
  readonly #byHandle = new Map<string, LiveRecord>()
  readonly #byId = new Map<string, LiveRecord>()
  readonly #limit: number
  /** No second object may stand for a session while anybody has the first. */
  readonly #evicted = new Map<string, WeakRef<LiveRecord>>()
  readonly #collected = new FinalizationRegistry<string>((handle) => {
    if (this.#evicted.get(handle)?.deref() === undefined) this.#evicted.delete(handle)
  })
  #bytes = 0
  #scheduled = false
  hits = 0
  misses = 0

  /** @param limit in bytes */
  constructor(limit: number) {
    this.#limit = limit
  }

  get bytes(): number {
    return this.#bytes
  }

  get size(): number {
    return this.#byHandle.size
  }

  stats(): CacheStats {
    const { size: records, bytes, hits, misses } = this
    return { records, bytes, limit: this.#limit, hits, misses }
  }

  /** By id, which saves the hash: only an id that was found before is known here. */
  getById(id: string): LiveRecord | undefined {
    return this.#byId.get(id)
  }

  get(handle: string): LiveRecord | undefined {
    return this.#byHandle.get(handle)
  }

  /** Remembers by which id a record that is here was asked for. */
  nameId(record: LiveRecord, id: string): void {
    if (record.id !== null) return
    record.id = id
    this.#byId.set(id, record)
  }

  add(record: LiveRecord): void {
    this.#byHandle.set(record.handle, record)
    record.cachedWeight = 0
    this.weigh(record)
  }

  /** To be called when a record has changed: its weight may be another. */
  weigh(record: LiveRecord): void {
    if (record.cachedWeight === null) return
    const weight = record.weight
    this.#bytes += weight - record.cachedWeight
    record.cachedWeight = weight
    if (this.#bytes > this.#limit) this.#scheduleEviction()
  }

  delete(record: LiveRecord): void {
    this.#evicted.delete(record.handle)
    if (record.cachedWeight === null) return
    this.#bytes -= record.cachedWeight
    record.cachedWeight = null
    this.#byHandle.delete(record.handle)
    if (record.id !== null) {
      this.#byId.delete(record.id)
      record.id = null
    }
  }

  /** Takes back a record that was evicted while somebody still had it. */
  recall(handle: string): LiveRecord | undefined {
    const record = this.#evicted.get(handle)?.deref()
    if (record === undefined) return undefined
    this.#evicted.delete(handle)
    this.#collected.unregister(record)
    this.add(record)
    return record
  }

  #forget(record: LiveRecord): void {
    this.delete(record)
    this.#evicted.set(record.handle, new WeakRef(record))
    this.#collected.register(record, record.handle, record)
  }

  /**
   * Not at once but at the end of the turn: whoever waited for a record that has just been read
   * gets to hold it first, so that no second object can come to stand for the same session.
   */
  #scheduleEviction(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      if (this.#evict()) this.#scheduleEviction()
    })
  }

  /** Looks at a bounded number of records; true if it got somewhere and more is to be done. */
  #evict(): boolean {
    let turns = TURNS_PER_EVICTION
    let progress = false
    for (const [handle, record] of this.#byHandle) {
      if (this.#bytes <= this.#limit) return false
      if (turns-- === 0) return progress
      if (!record.pinned && !record.used) {
        this.#forget(record)
        progress = true
        continue
      }
      progress ||= record.used
      record.used = false
      // To the back of the queue, where the iteration comes by again.
      this.#byHandle.delete(handle)
      this.#byHandle.set(handle, record)
    }
    return false
  }
}
