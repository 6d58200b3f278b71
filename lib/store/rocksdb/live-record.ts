import { IndexedRecord } from '../format/indexed-record.js'
import type { Parts } from '../format/parts.js'
import type { RecordRing } from './record-ring.js'

/** What an object and its two index slots take beside the data itself; measured on Node 20. */
const OVERHEAD_BYTES = 600
/** What a key, its value and their place in a map take beside their texts; a part as well. */
const ENTRY_BYTES = 100

/** A record with what the store must remember of it while it is in memory. */
export class LiveRecord extends IndexedRecord {
  /** Asked for again since it came, or since the cache's clock hand last passed. */
  used = false
  /** A visitor has asked for it: it is not only new, imported, or read by the way. */
  asked = false
  /** In the write that is being gathered. */
  queued = false
  /** Whether the write that is being gathered may store it, if that is for its times alone. */
  isUnchanged: (() => boolean) | null = null
  /** Where it is filed until the reaper's write of it goes out, in place of `indexedAt`. */
  leaves: number | null = null
  /** How many writes that contain it are under way. */
  writing = 0
  /** What its `parts` are if the last write that is under way fails. */
  previousParts: Parts | null = null
  /** What it weighs in the cache's sum. */
  cachedWeight = 0
  /** The id that it was last asked for by; the cache's second index. */
  id: string | null = null
  /** Made when it is let go of for the first time. */
  reference: WeakRef<LiveRecord> | null = null
  /** Which of the cache's rings it is in, if it is in the cache, and its neighbours there. */
  ring: RecordRing | null = null
  next: LiveRecord | null = null
  previous: LiveRecord | null = null

  /** Whether the cache must keep it, whatever its budget. */
  get pinned(): boolean {
    return this.queued || this.writing > 0
  }

  /** Estimate of the memory it takes, in bytes. V8 keeps ASCII in one byte a character. */
  get weight(): number {
    let units = 0
    for (const [key, text] of this.data) units += key.length + text.length
    // As many as bytes if all of it is ASCII.
    const texts = this.size === units ? this.size : 2 * units
    const entries = this.data.size + (this.parts?.size ?? 0)
    return OVERHEAD_BYTES + texts + ENTRY_BYTES * entries
  }
}
