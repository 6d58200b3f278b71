import type { SessionRecord } from '../record/record.js'

/** A record of a store for several writers, with its last write if that is under way. */
interface WrittenRecord extends SessionRecord {
  writing: Promise<void> | null
}

/**
 * Writes a record after its write before, which tells what is known of it then; two that are sent
 * at one time may be swapped on the way. Of a session that has ended nothing is written.
 */
export function inOrder(record: WrittenRecord, write: () => Promise<void>): Promise<void> {
  const begin = (): Promise<void> => {
    if (record.failure !== null) return Promise.reject(record.failure)
    return record.destroyed ? Promise.resolve() : write()
  }
  const writing = record.writing === null ? begin() : record.writing.then(begin)
  const clear = (): void => {
    if (record.writing === ended) record.writing = null
  }
  const ended = writing.then(clear, clear)
  record.writing = ended
  return writing
}
