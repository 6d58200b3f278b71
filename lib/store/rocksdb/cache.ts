import { setImmediate } from '../../timers.js'
import type { CacheStats } from '../stats.js'
import { EvictedRecords } from './evicted-records.js'
import type { LiveRecord } from './live-record.js'
import { PackedRecords } from './packed/packed-records.js'

const TURNS_PER_EVICTION = 256
/** Packing so much at once takes some milliseconds. */
const BYTES_PER_EVICTION = 1024 * 1024
/** At most so much of the memory is for packed records: those in use need some as objects. */
const PACKED_PART = 9 / 10

/**
 * The records in memory, bounded by bytes. They are objects as long as there is room, and those that
 * were not used for longest are packed: the clock algorithm finds them, which approximates
 * least-recently-used while a hit costs one assignment. A record that has a write under way stays an
 * object; one that was packed, but that somebody still has, comes back as the same object.
 */
export class RecordCache {
  readonly #byHandle = new Map<string, LiveRecord>()
  readonly #byId = new Map<string, LiveRecord>()
  readonly #evicted = new EvictedRecords()
  readonly #packed: PackedRecords
  readonly #limit: number
  /**
   * Where the clock hand is. The records are a ring, and new ones come in behind the hand. A map
   * would keep the order as well, but walks over what was deleted from its start.
   */
  #hand: LiveRecord | null = null
  #objectBytes = 0
  #scheduled = false
  hits = 0
  misses = 0

  /** @param limit in bytes */
  constructor(limit: number) {
    this.#limit = limit
    this.#packed = new PackedRecords(PACKED_PART * limit)
  }

  /** What they take, packed or not. */
  get bytes(): number {
    return this.#objectBytes + this.#packed.bytes
  }

  get size(): number {
    return this.#byHandle.size + this.#packed.size
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
    const record = this.#byHandle.get(handle)
    if (record === undefined || record.failure === null || record.pinned) return record
    // Whoever stands in front of the store has given it up, and nothing is under way that tells.
    this.delete(record)
    return undefined
  }

  /**
   * Remembers by which id a record that is here was asked for. The id is copied: as V8 cuts texts,
   * it would keep the whole Cookie header that it came in.
   */
  nameId(record: LiveRecord, id: string): void {
    if (record.id !== null || record.cachedWeight === null) return
    const copy = Buffer.from(id, 'latin1').toString('latin1')
    record.id = copy
    this.#byId.set(copy, record)
  }

  /** From now on this object stands for its session. */
  add(record: LiveRecord): void {
    this.#packed.lend(record.handle)
    this.#insert(record)
  }

  #insert(record: LiveRecord): void {
    this.#byHandle.set(record.handle, record)
    this.#link(record)
    record.cachedWeight = 0
    this.weigh(record)
  }

  /** To be called when a record has changed: its weight may be another. */
  weigh(record: LiveRecord): void {
    if (record.cachedWeight === null) return
    const weight = record.weight
    this.#objectBytes += weight - record.cachedWeight
    record.cachedWeight = weight
    if (this.bytes > this.#limit) this.#scheduleEviction()
  }

  delete(record: LiveRecord): void {
    this.#evicted.delete(record)
    this.#packed.delete(record.handle)
    if (record.cachedWeight !== null) this.#remove(record)
  }

  /** Makes a record that was evicted an object again: the same, if anybody still has that. */
  recall(handle: string): LiveRecord | undefined {
    const kept = this.#evicted.take(handle)
    if (kept !== undefined && kept.failure === null) {
      this.add(kept)
      return kept
    }
    const record = this.#packed.take(handle)
    if (record !== undefined) this.#insert(record)
    return record
  }

  #remove(record: LiveRecord): void {
    this.#objectBytes -= record.cachedWeight ?? 0
    record.cachedWeight = null
    this.#unlink(record)
    this.#byHandle.delete(record.handle)
    if (record.id === null) return
    this.#byId.delete(record.id)
    record.id = null
  }

  #link(record: LiveRecord): void {
    const next = this.#hand ?? record
    const previous = next.previous ?? record
    record.next = next
    record.previous = previous
    previous.next = record
    next.previous = record
    this.#hand = next
  }

  #unlink(record: LiveRecord): void {
    const { next, previous } = record as { next: LiveRecord; previous: LiveRecord }
    previous.next = next
    next.previous = previous
    if (this.#hand === record) this.#hand = next === record ? null : next
    record.next = null
    record.previous = null
  }

  /** Not at once but at the end of the turn: by then it shows what of that is to be written. */
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
    let progress = false
    let packed = 0
    for (let turns = 0; turns < TURNS_PER_EVICTION && packed < BYTES_PER_EVICTION; turns++) {
      const record = this.#hand
      if (record === null || this.bytes <= this.#limit) return false
      if (!record.pinned && !record.used) {
        packed += record.cachedWeight ?? 0
        this.#remove(record)
        this.#evicted.add(record)
        this.#packed.put(record)
        progress = true
        continue
      }
      if (record.used) {
        record.used = false
        record.asked = true
        progress = true
      }
      this.#hand = record.next
    }
    return progress
  }
}
