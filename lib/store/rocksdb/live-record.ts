import { IndexedRecord } from '../format/indexed-record.js'

/** What an object and its two index slots take beside the data itself; measured on Node 20. */
const OVERHEAD_BYTES = 600
/** What a key, its value and their place in the record's map take beside their texts. */
const ENTRY_BYTES = 100

/** A record with what the store must remember of it while it is in memory. */
export class LiveRecord extends IndexedRecord {
  /** Its index entry has come due while it lives on: the next write files it anew. */
  refile = false
  /** Used since the cache's clock hand last passed. */
  used = true
  /** In the write that is being gathered. */
  queued = false
  /** How many writes that contain it are under way. */
  writing = 0
  /** What it weighs in the cache's sum, or `null` while it is not in the cache. */
  cachedWeight: number | null = null
  /** UTF-16 units of keys and encoded values: as many as bytes if all of them are ASCII. */
  private units = 0
  /** The id that it was last asked for by; the cache's second index. */
  id: string | null = null
  /** Its neighbours in the ring over which the cache's clock hand goes. */
  next: LiveRecord | null = null
  previous: LiveRecord | null = null

  override apply(key: string, text: string | undefined): void {
    const previous = this.data.get(key)
    if (previous !== undefined) this.units -= key.length + previous.length
    if (text !== undefined) this.units += key.length + text.length
    super.apply(key, text)
  }

  /** Whether the cache must keep it, whatever its budget. */
  get pinned(): boolean {
    return this.queued || this.writing > 0
  }

  /** Estimate of the memory it takes, in bytes. V8 keeps ASCII in one byte a character. */
  get weight(): number {
    const texts = this.size === this.units ? this.size : 2 * this.units
    return OVERHEAD_BYTES + texts + ENTRY_BYTES * this.data.size
  }
}
