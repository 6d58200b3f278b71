import { InvalidOptionError, SessionTooLargeError } from '../errors.js'
import { checkPrincipal } from '../record/principal.js'
import type { SessionRecord } from '../record/record.js'
import { encodeValue } from '../record/value.js'

/** What stays of a session's data: all, nothing, or these keys. */
export type Keep = boolean | readonly string[]

/** Who has a session, and what the list of their devices shows of it. */
export interface Holder {
  readonly principal: string | null
  /** Encoded, or `null` for none. */
  readonly metadata: string | null
}

/** What `setPrincipal` was asked for, once it is known to be possible. */
export interface HolderChange {
  readonly principal: string | null
  /** Encoded, `null` for none; `undefined` leaves it to the change. */
  readonly metadata: string | null | undefined
  readonly keep: Keep | undefined
}

export interface SetPrincipalOptions {
  /** See {@link Session.metadata}. */
  metadata?: unknown
  /** Whether the session gets a new id, against fixation. Default true. */
  renew?: boolean
  /**
   * What stays of the data: true for all, false for nothing, or a list of keys. By default all of
   * it when nobody becomes somebody, and nothing of what one user leaves.
   */
  keep?: Keep
}

const MAX_METADATA_BYTES = 4096

/**
 * @throws {InvalidPrincipalError}
 * @throws {InvalidOptionError} of `keep`
 * @throws {ValueNotStorableError} of metadata
 * @throws {SessionTooLargeError} of metadata
 */
export function checkHolderChange(
  principal: string | null,
  options: SetPrincipalOptions
): HolderChange {
  if (principal !== null) checkPrincipal(principal)
  if (options.keep !== undefined) checkKeep(options.keep)
  const metadata = 'metadata' in options ? encodeMetadata(options.metadata) : undefined
  return { principal, metadata, keep: options.keep }
}

/** @throws {InvalidOptionError} */
export function checkKeep(keep: unknown): asserts keep is Keep {
  if (typeof keep === 'boolean') return
  if (Array.isArray(keep) && keep.every((key) => typeof key === 'string')) return
  throw new InvalidOptionError('keep', 'must be true, false or a list of session keys')
}

/**
 * @throws {ValueNotStorableError}
 * @throws {SessionTooLargeError}
 */
export function encodeMetadata(value: unknown): string | null {
  if (value === undefined) return null
  const text = encodeValue('metadata', value, MAX_METADATA_BYTES)
  if (Buffer.byteLength(text) > MAX_METADATA_BYTES) {
    throw new SessionTooLargeError('metadata', MAX_METADATA_BYTES)
  }
  return text
}

/** Whether a user leaves the session: what is in it is theirs, and nobody else's from then on. */
export function isLeft(record: SessionRecord, by: Holder): boolean {
  return record.principal !== null && record.principal !== by.principal
}

/** Whether somebody comes who was not there before: their time in the session begins. */
export function isLogin(record: SessionRecord, of: Holder): boolean {
  return of.principal !== null && record.principal !== of.principal
}

/** Whoever has the session is nobody already: a logout begins no session. */
export function isSilent({ principal, metadata = null }: HolderChange): boolean {
  return principal === null && metadata === null
}
