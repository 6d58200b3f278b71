import { IndexedRecord } from '../format/indexed-record.js'
import type { Known } from '../merge.js'

/** A record with what was last read or written, so that a save writes only what a request changed. */
export class LmdbRecord extends IndexedRecord {
  /** `null` before the first save. */
  known: Known | null = null
  /** Tells the session from earlier ones under its handle. */
  birth = 0
  /** Its last write, if that is under way: the next one builds on what it leaves behind. */
  writing: Promise<void> | null = null

  /** Notes that a key has this encoded value in what is stored; `undefined` for none. */
  learn(key: string, text: string | undefined): void {
    if (text === undefined) this.known?.data.delete(key)
    else this.known?.data.set(key, text)
  }
}
