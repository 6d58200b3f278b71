import { SessionBusyError } from '../errors.js'
import { encodeValue } from '../record/value.js'
import { pause } from '../timers.js'
import { noteActivity } from './activity.js'
import { checkKey, checkSize } from './limits.js'
import { save } from './saving.js'
import type { UnitOfWork } from './unit-of-work.js'

/**
 * Of an update, and in ms between them. One that loses nine of ten races to a busy other process
 * would give up once in 40,000 times after 100 attempts.
 */
const MAX_ATTEMPTS = 300
const LONGEST_PAUSE = 20

/** Replaces a key's value by what `fn` makes of it; see {@link Session.update}. */
export async function update(
  work: UnitOfWork,
  key: string,
  fn: (value: unknown) => unknown
): Promise<unknown> {
  checkKey(key)
  const { handle } = work.own()
  const leave = await work.registration.updates.enter(`${handle}${key}`)
  if (typeof leave === 'string') {
    throw new SessionBusyError('an update of the same key has not ended, or waits for this one')
  }
  try {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      // Chance parts those who keep getting in each other's way.
      if (attempt > 1) await pause(Math.random() * LONGEST_PAUSE)
      work.collect()
      // What this request itself has set is stored, to be compared with.
      if (work.stored && work.isUnshared && work.draft?.changes?.has(key)) await save(work)
      const expected = work.data.get(key)
      const value = await fn(work.copy(key))
      if (await swap(work, key, expected, value)) return value
    }
    throw new SessionBusyError('other processes keep changing the value')
  } finally {
    leave()
  }
}

/**
 * Sets a key to what was made of the encoded value `expected`. False if another process has
 * changed it meanwhile: the new value is then here, and nothing was set.
 */
async function swap(
  work: UnitOfWork,
  key: string,
  expected: string | undefined,
  value: unknown
): Promise<boolean> {
  const record = work.own()
  const { store, maxRecordSize } = work.registration
  if (store.compareAndSet === undefined || !work.stored || record.destroyed) {
    work.set(key, value)
    return true
  }
  const text = encodeValue(key, value, maxRecordSize)
  checkSize(record, key, text, maxRecordSize)
  const draft = work.edit()
  draft.drop(key)
  const swapped = await store.compareAndSet(record, key, expected, text)
  if (work.record !== record) return swapped || record.destroyed
  if (record.destroyed) {
    if (work.isDead(record)) work.dropLost(record)
    else work.change(key, text)
  } else if (swapped) {
    // There is nothing of it left to save but the activity.
    work.edit().put(key, value, text)
    noteActivity(record, work.registration)
  }
  return swapped || record.destroyed
}
