import { SessionRecord } from '../../record/record.js'

/** What is stored of a session, as far as the holder of its record knows. */
export interface Known {
  /** Which writing of the session this is: one that was replaced under its handle is another. */
  readonly born: string
  readonly created: string
  readonly expiry: string
  readonly principal: string
  readonly metadata: string
  readonly data: Map<string, string>
}

/** A record with what was last read or written, so that a save sends only what has changed. */
export class RedisRecord extends SessionRecord {
  /** `null` before the first save. */
  known: Known | null = null
  /** Its last write, if that is under way. */
  writing: Promise<void> | null = null
}
