import { InvalidExpiryError } from '../errors.js'

/** A length of time; its parts add up. */
export interface Duration {
  days?: number
  hours?: number
  minutes?: number
  seconds?: number
  milliseconds?: number
}

/**
 * When a session expires. Made by {@link onSessionEnd}, {@link onInactivity} or
 * {@link atDateTime}.
 */
export type Expiry =
  | { readonly kind: 'session-end' }
  | { readonly kind: 'inactivity'; readonly milliseconds: number }
  | { readonly kind: 'date-time'; readonly at: number }

/** The greatest time that a JavaScript `Date` can hold, in ms since 1970. */
export const MAX_TIME = 8_640_000_000_000_000

const SESSION_END: Expiry = Object.freeze({ kind: 'session-end' })

/**
 * The cookie lives as long as the browser's session; the server forgets the session after
 * `sessionEndLimit` (14 days by default) without a request.
 */
export function onSessionEnd(): Expiry {
  return SESSION_END
}

/**
 * The session expires when no request has used it for this long.
 *
 * @param duration a {@link Duration}, or milliseconds
 * @throws {InvalidExpiryError} `SLED_SESSION_INVALID_EXPIRY` if it is not a positive, finite time
 */
export function onInactivity(duration: Duration | number): Expiry {
  return Object.freeze({ kind: 'inactivity', milliseconds: toMilliseconds(duration) })
}

/**
 * The session expires at this moment, whatever its visitor does.
 *
 * @throws {InvalidExpiryError} `SLED_SESSION_INVALID_EXPIRY` if it is not a valid `Date`
 */
export function atDateTime(date: Date): Expiry {
  const at = date instanceof Date ? date.getTime() : Number.NaN
  if (Number.isNaN(at)) throw new InvalidExpiryError('atDateTime() needs a valid Date')
  return Object.freeze({ kind: 'date-time', at })
}

const UNITS = new Map<string, number>([
  ['days', 86_400_000],
  ['hours', 3_600_000],
  ['minutes', 60_000],
  ['seconds', 1000],
  ['milliseconds', 1]
])

/**
 * The expiry that a caller gives, who may give anything: a copy, which nobody can change.
 *
 * @throws {InvalidExpiryError} unless it is as the functions above make it
 */
export function checkedExpiry(expiry: unknown): Expiry {
  const { kind, milliseconds, at }: Record<string, unknown> = Object(expiry)
  if (kind === 'session-end') return SESSION_END
  if (kind === 'inactivity' && typeof milliseconds === 'number') return onInactivity(milliseconds)
  if (kind === 'date-time' && isTime(at)) return Object.freeze({ kind, at })
  throw new InvalidExpiryError('it must come from onSessionEnd(), onInactivity() or atDateTime()')
}

export function isSameExpiry(one: Expiry | null, other: Expiry | null): boolean {
  return one?.kind === other?.kind && amountOf(one) === amountOf(other)
}

/** The number that is stored beside an expiry's kind; 0 where there is none. */
export function amountOf(expiry: Expiry | null): number {
  if (expiry?.kind === 'inactivity') return expiry.milliseconds
  return expiry?.kind === 'date-time' ? expiry.at : 0
}

/**
 * The expiry that is stored as this kind and this number; `null` if there is none such. Frozen, as
 * all that have the record are handed this one object.
 */
export function expiryOf(kind: unknown, amount: unknown): Expiry | null {
  if (kind === 'session-end') return SESSION_END
  if (kind === 'date-time') return isTime(amount) ? Object.freeze({ kind, at: amount }) : null
  const isInactivity = kind === 'inactivity' && typeof amount === 'number' && amount > 0
  return isInactivity ? Object.freeze({ kind, milliseconds: amount }) : null
}

function isTime(at: unknown): at is number {
  return typeof at === 'number' && Math.abs(at) <= MAX_TIME
}

/** @throws {InvalidExpiryError} if it has an unknown part or does not add up to a positive time */
export function toMilliseconds(duration: Duration | number): number {
  const total = typeof duration === 'object' && duration !== null ? sum(duration) : duration
  if (typeof total !== 'number' || !(total > 0 && total <= MAX_TIME)) {
    throw new InvalidExpiryError('a duration must be a positive, finite time')
  }
  return total
}

function sum(parts: Duration): number {
  let total = 0
  for (const [unit, amount] of Object.entries(parts)) {
    const factor = UNITS.get(unit)
    if (factor === undefined) {
      const units = [...UNITS.keys()].join(', ')
      throw new InvalidExpiryError(`a duration has no part "${unit}": use ${units}`)
    }
    total += typeof amount === 'number' ? amount * factor : Number.NaN
  }
  return total
}

/** The limits of one registration that bound every deadline; all in milliseconds. */
export interface DeadlineLimits {
  readonly sessionEndLimit: number
  readonly absoluteTimeout: number | null
}

/** The moment at which a session expires if this is its last activity, in ms since 1970. */
export function deadline(
  expiry: Expiry,
  createdAt: number,
  now: number,
  limits: DeadlineLimits
): number {
  let at: number
  if (expiry.kind === 'inactivity') at = now + expiry.milliseconds
  else if (expiry.kind === 'session-end') at = now + limits.sessionEndLimit
  else at = expiry.at
  if (limits.absoluteTimeout !== null) at = Math.min(at, createdAt + limits.absoluteTimeout)
  return Math.min(at, MAX_TIME)
}

const LONGEST_TOUCH_INTERVAL = 60_000

/** How far a deadline may move in memory before it is worth a write: a tenth, 60 s at most. */
export function defaultTouchInterval(expiry: Expiry, limits: DeadlineLimits): number {
  if (expiry.kind === 'date-time') return LONGEST_TOUCH_INTERVAL
  const lifetime = expiry.kind === 'inactivity' ? expiry.milliseconds : limits.sessionEndLimit
  return Math.min(Math.ceil(lifetime / 10), LONGEST_TOUCH_INTERVAL)
}
