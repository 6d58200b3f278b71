import { deadline, defaultTouchInterval } from '../record/expiry.js'
import type { SessionRecord } from '../record/record.js'
import { notesOf } from './notes.js'
import type { Registration } from './registration.js'

/** What a visit alone, of which nothing else is to be stored, must tell the store and the browser. */
export interface Due {
  /** The store's time of last use, or its deadline, is to be written. */
  readonly touch: boolean
  /** The cookie is to be sent again. */
  readonly cookie: boolean
}

// One object for each answer: every request asks.
const NOTHING: Due = { touch: false, cookie: false }
const TOUCH: Due = { touch: true, cookie: false }
const COOKIE: Due = { touch: false, cookie: true }
const BOTH: Due = { touch: true, cookie: true }

/**
 * Decides what is due, and is the only place that does. With `alwaysSave` each response stores and
 * sends all; what is left at the close of a response is no response.
 */
export function whatIsDue(
  at: 'response' | 'close',
  record: SessionRecord,
  policy: Registration
): Due {
  if (at === 'response' && policy.alwaysSave) return BOTH
  const interval = touchInterval(record, policy)
  const touch = isStoreBehind(record, interval)
  const cookie = at === 'response' && isCookieBehind(record, policy, interval)
  if (touch) return cookie ? BOTH : TOUCH
  return cookie ? COOKIE : NOTHING
}

/** Whether the store has so much too early a last use, or too late a deadline, that a write pays. */
function isStoreBehind(record: SessionRecord, interval: number): boolean {
  const { lastSeenAt, expiresAt } = record
  const { storedSeenAt, storedExpiresAt } = notesOf(record)
  return lastSeenAt - storedSeenAt >= interval || storedExpiresAt - expiresAt >= interval
}

/** Whether the deadline is so far from the cookie's, either way, that the browser must be told. */
function isCookieBehind(record: SessionRecord, policy: Registration, interval: number): boolean {
  const { kind } = record.expiry ?? policy.expiry
  if (kind === 'session-end') return false
  return Math.abs(record.expiresAt - notesOf(record).toldExpiresAt) >= interval
}

/** Moves a record's deadline in memory, where it is always exact. */
export function noteActivity(record: SessionRecord, policy: Registration): void {
  const now = policy.now()
  notesOf(record)
  record.lastSeenAt = now
  record.expiresAt = deadline(record.expiry ?? policy.expiry, record.createdAt, now, policy)
}

/** With `alwaysSave` each response counts as activity, whether or not requests do. */
export function noteResponse(record: SessionRecord, policy: Registration): void {
  if (policy.alwaysSave) noteActivity(record, policy)
}

/**
 * How long the browser is to keep the cookie, in ms, or `null` for until it ends. A deadline moves
 * by less than the touch interval without a word to the browser, and the cookie outlives that too.
 */
export function cookieLifetime(
  record: Pick<SessionRecord, 'expiry' | 'expiresAt'>,
  policy: Registration
): number | null {
  const { kind } = record.expiry ?? policy.expiry
  if (kind === 'session-end') return null
  const left = Math.max(0, record.expiresAt - policy.now())
  return kind === 'inactivity' && left > 0 ? left + touchInterval(record, policy) : left
}

function touchInterval(record: Pick<SessionRecord, 'expiry'>, policy: Registration): number {
  const expiry = record.expiry ?? policy.expiry
  const given = policy.touchInterval
  // It fits the registration's expiry, and may be longer than a session's own.
  const fits = expiry.kind !== 'inactivity' || given === null || given < expiry.milliseconds
  return given !== null && fits ? given : defaultTouchInterval(expiry, policy)
}
