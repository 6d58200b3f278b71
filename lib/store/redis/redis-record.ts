import { SessionRecord } from '../../record/record.js'
import type { Known } from '../merge.js'

/** A record with what was last read or written, so that a save writes only what a request changed. */
export class RedisRecord extends SessionRecord {
  /** What is stored, as far as the holder of this record knows; `null` before the first save. */
  stored: string | null = null
  /** Tells the session from earlier ones under its handle. */
  born = ''
  /** What the request began with; `null` while that is what `stored` says. */
  known: Known | null = null
  /** Its last write, if that is under way. */
  writing: Promise<void> | null = null

  /** Notes that a key has this encoded value in what is stored; `undefined` for none. */
  learn(key: string, text: string | undefined): void {
    if (text === undefined) this.known?.data.delete(key)
    else this.known?.data.set(key, text)
  }
}
