import type { RocksDatabase } from './binding.js'
import { dueRange, parseExpiryKey } from './keys.js'
import type { LiveRecord } from './live-record.js'

/** Small enough that one batch does not hold up the event loop for more than some milliseconds. */
const BATCH = 128

/** What the reaper does to the store, and all that it knows of it. */
export interface ReaperActions {
  readonly db: RocksDatabase
  readonly now: () => number
  readonly stopped: () => boolean
  find(handle: string): Promise<LiveRecord | null>
  expire(record: LiveRecord): Promise<void>
  refile(record: LiveRecord): Promise<void>
  removeEntry(key: Buffer): Promise<void>
}

/**
 * Deletes the sessions that are past their time. It reads the expiry index from its start up to
 * now and stops there, so it costs what has come due and not what is alive.
 *
 * The index is lazy, as kernel timers are: a touch moves only the record's deadline. An entry
 * whose session lives on is filed again under the real deadline, once per lifetime at most.
 *
 * @returns how many sessions it deleted
 */
export async function reapExpired(actions: ReaperActions): Promise<number> {
  const until = actions.now()
  let deleted = 0
  while (!actions.stopped()) {
    const keys = await dueKeys(actions.db, until)
    const outcomes = await Promise.all(keys.map((key) => reapEntry(key, until, actions)))
    deleted += outcomes.filter((expired) => expired).length
    if (keys.length < BATCH) break
    await new Promise((resolve) => setImmediate(resolve))
  }
  return deleted
}

async function dueKeys(db: RocksDatabase, now: number): Promise<Buffer[]> {
  const options = { limit: BATCH, capacity: BATCH, values: false }
  const keys: Buffer[] = []
  for await (const { key } of db.iterator(dueRange(now), options)) keys.push(key)
  return keys
}

/** Resolves to whether the entry's session was deleted. */
async function reapEntry(key: Buffer, now: number, actions: ReaperActions): Promise<boolean> {
  const { expiresAt, handle } = parseExpiryKey(key)
  const record = await actions.find(handle)
  if (record === null || record.indexedAt !== expiresAt) {
    // A write that moved the session's entry was under way while the index was read.
    await actions.removeEntry(key)
    return false
  }
  if (record.destroyed) return false
  if (record.expiresAt > now) {
    await actions.refile(record)
    return false
  }
  await actions.expire(record)
  return true
}
