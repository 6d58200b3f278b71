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
  /** The response counts as activity, whether or not requests do. */
  readonly activity: boolean
}

// One object for each answer, and of one shape: every request asks.
export const NOTHING = due(false, false)
const TOUCH = due(true, false)
const COOKIE = due(false, true)
const BOTH = due(true, true)
const ALL = due(true, true, true)

function due(touch: boolean, cookie: boolean, activity = false): Due {
  return { touch, cookie, activity }
}

/**
 * Decides what is due, and is the only place that does. With `alwaysSave` each response stores and
 * sends all; what is left at the close of a response is no response.
 */
export function whatIsDue(
  at: 'response' | 'close',
  record: SessionRecord,
  policy: Registration
): Due {
  if (at === 'response' && policy.alwaysSave) return ALL
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
