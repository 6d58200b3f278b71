import { RecordCorruptError } from '../../../errors.js'
import { shortHandle } from '../../../record/handle.js'
import { handleIn, recordRange, recordsBehind } from '../../format/keys.js'
import { decodeRecord } from '../../format/record-codec.js'
import type { StoreLogger } from '../../session-store.js'
import { LiveRecord } from '../live-record.js'
import type { RocksDatabase } from './binding.js'
import { readEntries } from './read-batch.js'

/** At the default limit of 64 KiB a session, the most that one batch takes is 2 MiB. */
const BATCH = 32

export interface ScanSource {
  readonly db: RocksDatabase
  readonly now: () => number
  readonly log: StoreLogger
  /** The database is about to close: it waits for what reads from it. */
  readonly stopped: () => boolean
}

/**
 * The records that are not past their time, as they are at this moment. Between batches nothing is
 * open but the snapshot, so that a slow reader keeps nobody from closing the database.
 */
export async function* scanRecords(
  { db, now, log, stopped }: ScanSource,
  after: string | undefined
): AsyncGenerator<LiveRecord> {
  const snapshot = db.snapshot()
  let range = after === undefined ? recordRange() : recordsBehind(after)
  try {
    for (;;) {
      if (stopped()) throw new Error('the store is closing')
      const entries = await readEntries(snapshot, range, BATCH)
      for (const { key, value } of entries) {
        const record = decode(key, value, log)
        if (record !== null && record.expiresAt > now()) yield record
      }
      const last = entries.at(-1)
      if (last === undefined || entries.length < BATCH) return
      range = recordsBehind(handleIn(last.key))
    }
  } finally {
    await snapshot.close()
  }
}

function decode(key: Buffer, value: Buffer, log: StoreLogger): LiveRecord | null {
  const handle = handleIn(key)
  try {
    return decodeRecord(handle, value, key, LiveRecord)
  } catch (error) {
    if (!(error instanceof RecordCorruptError)) throw error
    log.error(
      { session: shortHandle(handle), err: error },
      'a corrupt session record was left out; "sled-session verify" tells more'
    )
    return null
  }
}
