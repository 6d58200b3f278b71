import { ValueNotStorableError } from '../errors.js'
import type { Expiry } from '../record/expiry.js'
import { entrySize, type SessionRecord } from '../record/record.js'
import { tooLarge } from '../record/value.js'
import type { Registration } from './registration.js'

/** @throws {ValueNotStorableError} */
export function checkKey(key: string): void {
  if (typeof key !== 'string')
    throw new ValueNotStorableError(String(key), 'a key must be a string')
}

/** @throws {SessionTooLargeError} if there is no room for a value */
export function checkSize(record: SessionRecord, key: string, text: string, limit: number): void {
  const previous = record.data.get(key)
  const freed = previous === undefined ? 0 : entrySize(key, previous)
  if (record.size - freed + entrySize(key, text) > limit) {
    throw tooLarge(key, limit)
  }
}

/** An expiry beyond the absolute timeout would be cut short without a word. */
export function tellIfCapped(expiry: Expiry, registration: Registration): void {
  const { absoluteTimeout, now, warnOnce } = registration
  if (absoluteTimeout === null || expiry.kind === 'session-end') return
  const time = expiry.kind === 'inactivity' ? expiry.milliseconds : expiry.at - now()
  if (time <= absoluteTimeout) return
  warnOnce(
    { expiry: time, absoluteTimeout },
    'a session was given an expiry, in ms, beyond absoluteTimeout, which ends it first: raise absoluteTimeout to the longest life that any session may have, and give the others a shorter expiry'
  )
}
