import type { IndexedRecord } from './indexed-record.js'
import { indexTime, principalKey } from './keys.js'

/** Where index entries are written. */
export interface IndexWriter {
  put(key: Buffer): void
  remove(key: Buffer): void
}

/**
 * Whether a record has an entry in the expiry index that comes due in time. A later deadline leaves
 * it there: the reaper moves it when it gets there.
 */
export function isFiled({ indexedAt, expiresAt }: IndexedRecord): boolean {
  return indexedAt !== null && indexTime(expiresAt) >= indexedAt
}

/** Moves a record to the list of this principal, or with `null` out of all lists. */
export function filePrincipal(
  record: IndexedRecord,
  principal: string | null,
  writer: IndexWriter
): void {
  const { indexedPrincipal, handle } = record
  if (principal === indexedPrincipal) return
  if (indexedPrincipal !== null) writer.remove(principalKey(indexedPrincipal, handle))
  if (principal !== null) writer.put(principalKey(principal, handle))
  record.indexedPrincipal = principal
}
