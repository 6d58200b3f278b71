import { setImmediate } from '../../timers.js'
import type { CacheStats } from '../stats.js'
import { EvictedRecords } from './evicted-records.js'
import { HandleTable } from './handle-table.js'
import type { LiveRecord } from './live-record.js'
import { PackedRecords } from './packed/packed-records.js'
import { RecordRing } from './record-ring.js'

/** How many records an eviction may look at, whatever came. */
const LEAST_LOOKS = 256
/** How many bytes of objects it may pack, whatever came: so much takes some milliseconds. */
const LEAST_PACKED = 1024 * 1024
/** Beside these, for each visit of the turn: the first looks may find that a record is in use. */
const LOOKS_PER_VISIT = 4
/** And for each byte that came in the turn. */
const PACKED_PER_BYTE = 2
/** At most so much of the memory is for packed records: those in use need some as objects. */
const PACKED_PART = 9 / 10
/** Of the memory, for objects that nobody has asked for again since they came. */
const RECENT_PART = 1 / 64

/**
 * The records in memory, bounded by bytes. They are objects as long as there is room. Then those are
 * packed first that nobody has asked for again since they came, so that neither many first visits
 * nor a walk over all sessions push out what visitors come back to (as S3-FIFO has it: Yang et al.,
 * "FIFO queues are all you need for cache eviction", SOSP 2023). Of the others, the clock algorithm
 * finds those that were not used for longest, which approximates least-recently-used while a hit
 * costs one assignment. A record that has a write under way stays an object; one that was packed,
 * but that somebody still has, comes back as the same object.
 */
export class RecordCache {
  readonly #byHandle = new HandleTable<LiveRecord>(({ handle }) => handle)
  readonly #byId = new HandleTable<LiveRecord>(({ id }) => id)
  readonly #evicted = new EvictedRecords()
  readonly #packed: PackedRecords
  readonly #limit: number
  readonly #recentLimit: number
  /** Those that came in and were not asked for since, as far as eviction has looked. */
  readonly #recent = new RecordRing()
  readonly #known = new RecordRing()
  #scheduled = false
  /** How many records came since opening, and how many bytes with them or as they grew. */
  #came = 0
  #grown = 0
  hits = 0
  misses = 0

  /** @param limit in bytes */
  constructor(limit: number) {
    this.#limit = limit
    this.#recentLimit = RECENT_PART * limit
    this.#packed = new PackedRecords(PACKED_PART * limit)
  }

  /** What they take, packed or not. */
  get bytes(): number {
    return this.#recent.bytes + this.#known.bytes + this.#packed.bytes
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
    if (record.id !== null || record.ring === null) return
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
    record.cachedWeight = 0
    this.#recent.add(record)
    this.#came++
    this.weigh(record)
  }

  /** To be called when a record has changed: its weight may be another. */
  weigh(record: LiveRecord): void {
    const { ring, cachedWeight } = record
    if (ring === null) return
    const weight = record.weight
    ring.bytes += weight - cachedWeight
    this.#grown += Math.max(0, weight - cachedWeight)
    record.cachedWeight = weight
    if (this.bytes > this.#limit) this.#scheduleEviction()
  }

  delete(record: LiveRecord): void {
    this.#evicted.delete(record)
    this.#packed.delete(record.handle)
    if (record.ring !== null) this.#remove(record)
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
    record.ring?.remove(record)
    this.#byHandle.delete(record.handle)
    if (record.id === null) return
    this.#byId.delete(record.id)
    record.id = null
  }

  /**
   * Not at once but at the end of the turn: by then it shows what of that is to be written. The more
   * came in that turn, the more is done, or memory would grow for as long as a flood lasts.
   */
  #scheduleEviction(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    const visits = this.#visits
    const grown = this.#grown
    setImmediate(() => {
      this.#scheduled = false
      const looks = LEAST_LOOKS + LOOKS_PER_VISIT * (this.#visits - visits)
      const bytes = LEAST_PACKED + PACKED_PER_BYTE * (this.#grown - grown)
      if (this.#shrink(looks, bytes)) this.#scheduleEviction()
    })
  }

  get #visits(): number {
    return this.#came + this.hits
  }

  /**
   * Looks at so many records at most, and packs so many bytes; true if it got somewhere and more is
   * to be done.
   */
  #shrink(looks: number, bytes: number): boolean {
    let progress = false
    let packed = 0
    for (let looked = 0; looked < looks && packed < bytes; looked++) {
      if (this.bytes <= this.#limit) return false
      const ring = this.#ringToThin
      const record = ring.hand
      if (record === null) return false
      if (record.pinned) ring.turn()
      else if (record.used) {
        record.used = false
        record.asked = true
        progress = true
        if (ring === this.#known) ring.turn()
        else this.#move(record)
      } else {
        packed += record.cachedWeight
        this.#evict(record)
        progress = true
      }
    }
    return progress
  }

  get #ringToThin(): RecordRing {
    const { size, bytes } = this.#recent
    return size > 0 && (bytes > this.#recentLimit || this.#known.size === 0)
      ? this.#recent
      : this.#known
  }

  /** One that was asked for again joins those that were. */
  #move(record: LiveRecord): void {
    this.#recent.remove(record)
    this.#known.add(record)
  }

  #evict(record: LiveRecord): void {
    this.#remove(record)
    this.#evicted.add(record)
    const others = this.#known.bytes + this.#recentLimit + this.#packed.bytes
    this.#packed.put(record, this.#limit - others)
  }
}
