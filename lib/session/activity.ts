import { deadline, defaultTouchInterval } from '../record/expiry.js'
import { notesOf } from '../record/notes.js'
import type { SessionRecord } from '../record/record.js'
import type { Registration } from './registration.js'

/** What a visit alone, of which nothing else is to be stored, must tell the store and the browser. */
export interface Due {
  /** The store's time of last use, or its deadline, is to be written: in the background. */
  readonly touch: boolean
  /** The cookie is to be sent again. */
  readonly cookie: boolean
}

// One object for each answer, and of one shape: every request asks.
const NOTHING = due(false, false)
const TOUCH = due(true, false)
const COOKIE = due(false, true)
const BOTH = due(true, true)

function due(touch: boolean, cookie: boolean): Due {
  return { touch, cookie }
}

/**
 * Decides what is due, and is the only place that does. With `alwaysSave` each response sends the
 * cookie; what is left at the close of a response is no response.
 */
export function whatIsDue(
  at: 'response' | 'close',
  record: SessionRecord,
  registration: Registration
): Due {
  const interval = touchInterval(record, registration)
  const touch = isStoreBehind(record, interval)
  const cookie =
    at === 'response' && (registration.alwaysSave || isCookieBehind(record, registration, interval))
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
function isCookieBehind(
  record: SessionRecord,
  registration: Registration,
  interval: number
): boolean {
  const { kind } = record.expiry ?? registration.expiry
  if (kind === 'session-end') return false
  return Math.abs(record.expiresAt - notesOf(record).toldExpiresAt) >= interval
}

/** Moves a record's deadline in memory, where it is always exact. */
export function noteActivity(record: SessionRecord, registration: Registration): void {
  const now = registration.now()
  notesOf(record)
  record.lastSeenAt = now
  record.expiresAt = deadline(
    record.expiry ?? registration.expiry,
    record.createdAt,
    now,
    registration
  )
}

/**
 * How long the browser is to keep the cookie, in ms, or `null` for until it ends. A deadline moves
 * by less than the touch interval without a word to the browser, and the cookie outlives that too.
 */
export function cookieLifetime(
  record: Pick<SessionRecord, 'expiry' | 'expiresAt'>,
  registration: Registration
): number | null {
  const { kind } = record.expiry ?? registration.expiry
  if (kind === 'session-end') return null
  const left = Math.max(0, record.expiresAt - registration.now())
  return kind === 'inactivity' && left > 0 ? left + touchInterval(record, registration) : left
}

function touchInterval(record: Pick<SessionRecord, 'expiry'>, registration: Registration): number {
  const expiry = record.expiry ?? registration.expiry
  const given = registration.touchInterval
  // It fits the registration's expiry, and may be longer than a session's own.
  const fits = expiry.kind !== 'inactivity' || given === null || given < expiry.milliseconds
  return given !== null && fits ? given : defaultTouchInterval(expiry, registration)
}
