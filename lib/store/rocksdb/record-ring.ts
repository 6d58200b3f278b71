import type { LiveRecord } from './live-record.js'

/**
 * Records in the order in which they came. The hand stands at the oldest until it turns; then what
 * it has passed counts as new. A map would keep an order as well, but walks over what was deleted
 * from its start.
 */
export class RecordRing {
  hand: LiveRecord | null = null
  size = 0
  /** What they weigh in the cache's sum. */
  bytes = 0

  /** Adds one behind the hand. */
  add(record: LiveRecord): void {
    const next = this.hand ?? record
    const previous = next.previous ?? record
    record.next = next
    record.previous = previous
    previous.next = record
    next.previous = record
    this.hand = next
    record.ring = this
    this.size++
    this.bytes += record.cachedWeight
  }

  remove(record: LiveRecord): void {
    const { next, previous } = record as { next: LiveRecord; previous: LiveRecord }
    previous.next = next
    next.previous = previous
    if (this.hand === record) this.hand = next === record ? null : next
    record.next = null
    record.previous = null
    record.ring = null
    this.size--
    this.bytes -= record.cachedWeight
  }

  turn(): void {
    this.hand = this.hand?.next ?? null
  }
}
