import { IndexedRecord } from '../format/indexed-record.js'
import type { SharedKnown } from '../merge.js'

/** A record with what was last read or written, so that a save writes only what a request changed. */
export class LmdbRecord extends IndexedRecord {
  /** `null` before the first save. Others may share it, so it is replaced and not changed. */
  known: SharedKnown | null = null
  /** Tells the session from earlier ones under its handle. */
  birth = 0
  /** Its last write, if that is under way: the next one builds on what it leaves behind. */
  writing: Promise<void> | null = null

  /** Notes that keys have these encoded values in what is stored; `undefined` for none. */
  learn(known: SharedKnown, changes: Iterable<readonly [string, string | undefined]>): void {
    const { createdAt, expiry, principal, metadata } = known
    const data = new Map(known.data)
    for (const [key, text] of changes) {
      if (text === undefined) data.delete(key)
      else data.set(key, text)
    }
    this.known = { createdAt, expiry, principal, metadata, data }
  }
}
