import { SessionRecord } from '../../record/record.js'

/** A record with where the indexes have it, for stores that keep indexes of their own. */
export class IndexedRecord extends SessionRecord {
  /** Where the expiry index has this session, or `null` if it has no entry. */
  indexedAt: number | null = null
  /** Under whom the principal index has this session, or `null` if it has no entry. */
  indexedPrincipal: string | null = null
}
