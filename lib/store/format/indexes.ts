import type { IndexedRecord } from './indexed-record.js'
import { expiryKey, indexTime, principalKey } from './keys.js'

/** Where index entries are written. */
export interface IndexWriter {
  put(key: Buffer): void
  remove(key: Buffer): void
}

/**
 * Puts a record that is about to be stored where the indexes must have it. A later deadline leaves
 * its entry where it is: the reaper moves it when it gets there.
 *
 * @param refile whether to move it all the same
 */
export function fileRecord(record: IndexedRecord, refile: boolean, writer: IndexWriter): void {
  filePrincipal(record, record.principal, writer)
  const { indexedAt, handle } = record
  const time = indexTime(record.expiresAt)
  if (indexedAt !== null && time >= indexedAt && !refile) return
  if (indexedAt !== null) writer.remove(expiryKey(indexedAt, handle))
  record.indexedAt = time
  writer.put(expiryKey(time, handle))
}

/** Takes a record that is about to be deleted out of the indexes. */
export function unfileRecord(record: IndexedRecord, writer: IndexWriter): void {
  if (record.indexedAt !== null) writer.remove(expiryKey(record.indexedAt, record.handle))
  filePrincipal(record, null, writer)
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
