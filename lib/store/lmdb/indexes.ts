import type { IndexedRecord } from '../format/indexed-record.js'
import { filePrincipal, type IndexWriter, isFiled } from '../format/indexes.js'
import { expiryKey, indexTime } from '../format/keys.js'

/**
 * Puts a record that is about to be stored where the indexes must have it.
 *
 * @param refile whether to move its entry in the expiry index in any case
 */
export function fileRecord(record: IndexedRecord, refile: boolean, writer: IndexWriter): void {
  filePrincipal(record, record.principal, writer)
  if (isFiled(record) && !refile) return
  const { indexedAt, handle } = record
  if (indexedAt !== null) writer.remove(expiryKey(indexedAt, handle))
  record.indexedAt = indexTime(record.expiresAt)
  writer.put(expiryKey(record.indexedAt, handle))
}

/** Takes a record that is about to be deleted out of the indexes. */
export function unfileRecord(record: IndexedRecord, writer: IndexWriter): void {
  if (record.indexedAt !== null) writer.remove(expiryKey(record.indexedAt, record.handle))
  filePrincipal(record, null, writer)
}
