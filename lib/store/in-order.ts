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

/**
 * Renews a session after the writes before. What is written of the fresh record meanwhile waits: it
 * would begin that session, though the old one may be over or live on.
 *
 * @param renew resolves to whether the fresh session has taken the place of the old one
 */
export async function renewInOrder(
  old: WrittenRecord,
  fresh: WrittenRecord,
  renew: () => Promise<boolean>
): Promise<boolean> {
  let renewed = false
  await inOrder(fresh, async () => {
    try {
      await inOrder(old, async () => {
        renewed = await renew()
        old.destroyed = true
      })
    } catch (error) {
      fresh.failure ??= error as Error
      throw error
    }
    if (!renewed) fresh.destroyed = true
  })
  return renewed
}
