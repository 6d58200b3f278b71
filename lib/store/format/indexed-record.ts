import { SessionRecord } from '../../record/record.js'
import type { Parts } from './parts.js'

/** A record with where else it is stored, for stores that keep indexes of their own. */
export class IndexedRecord extends SessionRecord {
  /** Where the expiry index has this session, or `null` if it has no entry. */
  indexedAt: number | null = null
  /** Under whom the principal index has this session, or `null` if it has no entry. */
  indexedPrincipal: string | null = null
  /** Its values that are stored under keys of their own, as they are stored; `null` for none. */
  parts: Parts | null = null
}
