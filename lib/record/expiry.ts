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
 * @throws TypeError if it is not a positive, finite time
 */
export function onInactivity(duration: Duration | number): Expiry {
  return Object.freeze({ kind: 'inactivity', milliseconds: toMilliseconds(duration) })
}

/**
 * The session expires at this moment, whatever its visitor does.
 *
 * @throws TypeError if the date is invalid
 */
export function atDateTime(date: Date): Expiry {
  const at = date.getTime()
  if (!Number.isFinite(at)) throw new TypeError('atDateTime() needs a valid Date')
  return Object.freeze({ kind: 'date-time', at })
}

const UNITS = new Map<string, number>([
  ['days', 86_400_000],
  ['hours', 3_600_000],
  ['minutes', 60_000],
  ['seconds', 1000],
  ['milliseconds', 1]
])

/** @throws TypeError if the duration has an unknown part or does not add up to a positive time */
export function toMilliseconds(duration: Duration | number): number {
  let total = 0
  if (typeof duration === 'number') {
    total = duration
  } else {
    for (const [unit, amount] of Object.entries(duration as Record<string, number>)) {
      const factor = UNITS.get(unit)
      if (factor === undefined) {
        throw new TypeError(`a duration has no part "${unit}": use ${[...UNITS.keys()].join(', ')}`)
      }
      total += amount * factor
    }
  }
  if (!Number.isFinite(total) || total <= 0 || total > MAX_TIME) {
    throw new TypeError('a duration must be a positive, finite time')
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
