import { SessionTooLargeError } from '../errors.js'
import {
  AS_GIVEN,
  flag,
  type Option,
  option,
  optional,
  readOptions,
  refuse
} from '../record/option.js'
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

// One that is spelled wrong would keep what is to go, and leave somebody logged in.
const RENEWAL = { keep: option(keepOf, true) }
const HOLDER_CHANGE = {
  metadata: AS_GIVEN,
  renew: option(flag, true),
  keep: optional(keepOf, undefined)
} satisfies Record<keyof SetPrincipalOptions, Option<unknown>>

/**
 * @throws {InvalidPrincipalError}
 * @throws {InvalidOptionError}
 * @throws {ValueNotStorableError} of metadata
 * @throws {SessionTooLargeError} of metadata
 */
export function checkHolderChange(
  principal: string | null,
  options: SetPrincipalOptions
): HolderChange {
  if (principal !== null) checkPrincipal(principal)
  const { keep } = readOptions(HOLDER_CHANGE, options)
  const metadata = 'metadata' in options ? encodeMetadata(options.metadata) : undefined
  return { principal, metadata, keep }
}

/**
 * What a renewal is told to keep; a list may stand in the place of the options.
 *
 * @throws {InvalidOptionError}
 */
export function checkRenewal(options: unknown): Keep {
  return readOptions(RENEWAL, Array.isArray(options) ? { keep: options } : options).keep
}

function keepOf(keep: unknown, name: string): Keep {
  if (typeof keep === 'boolean') return keep
  if (Array.isArray(keep) && keep.every((key) => typeof key === 'string')) return keep
  return refuse(name, 'must be true, false or a list of session keys')
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
