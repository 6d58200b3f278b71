import { inspect } from 'node:util'
import { InvalidHandleError } from '../errors.js'
import type { Expiry } from './expiry.js'
import { isHandle, shortHandle } from './handle.js'
import type { RecordNotes } from './notes.js'

/** A field and no WeakMap, which each request would ask; a symbol, as it is not part of the record. */
export const SESSION_NOTES: unique symbol = Symbol('what sessions note of a record')

/** What a record begins with; a record is one itself, so that another can be made of it. */
export interface NewRecord {
  /** SHA-256 of the session id in base64url. */
  readonly handle: string
  /** In ms since 1970, as are all times here. */
  readonly createdAt: number
  readonly lastSeenAt: number
  readonly expiresAt: number
}

/**
 * One stored session, as stores and sessions share it. Values are kept as text, encoded strings
 * (see `value.ts`), which are immutable, so nobody who reads a record can change it unseen.
 *
 * ```ts
 * const record = new SessionRecord({ handle, createdAt: now, lastSeenAt: now, expiresAt })
 * record.principal = 'ann'
 * record.apply('counter', '5')
 * await store.putRecords([record])
 * ```
 */
export class SessionRecord {
  /** What sessions note beside it, for all who share it; nothing of it is stored. */
  [SESSION_NOTES]: RecordNotes | null = null
  /** SHA-256 of the session id in base64url; the id itself is not part of a record. */
  readonly handle: string
  /** In ms since 1970, as are all times here. A login begins a session anew. */
  createdAt: number
  lastSeenAt: number
  expiresAt: number
  /** This session's own expiry; `null` follows the registration's. */
  expiry: Expiry | null = null
  /** The user whom the session belongs to, or `null` before login. */
  principal: string | null = null
  /** What the application noted about the session for lists of devices, encoded; or `null`. */
  metadata: string | null = null
  /** Session key to encoded value. */
  readonly data = new Map<string, string>()
  /** Bytes that keys and encoded values take in UTF-8. */
  size = 0
  /** Destroyed, regenerated or revoked: nothing may bring it back. */
  destroyed = false
  /** Why this object no longer stands for what is stored; its holders must not save it. */
  failure: Error | null = null

  /** @throws {InvalidHandleError} `SLED_SESSION_INVALID_HANDLE` */
  constructor(start: NewRecord) {
    const { handle, createdAt, lastSeenAt, expiresAt } = start
    // That of another record was checked when that was made.
    if (!(start instanceof SessionRecord || isHandle(handle))) throw new InvalidHandleError()
    this.handle = handle
    this.createdAt = createdAt
    this.lastSeenAt = lastSeenAt
    this.expiresAt = expiresAt
  }

  /** In consoles and logs it shows neither data nor, in the records of some stores, the id. */
  [inspect.custom](): string {
    return `SessionRecord ${shortHandle(this.handle)}`
  }

  /**
   * Sets or, with `undefined`, deletes one key.
   *
   * ```ts
   * record.apply('counter', JSON.stringify(5))
   * ```
   */
  apply(key: string, text: string | undefined): void {
    const previous = this.data.get(key)
    if (previous !== undefined) this.size -= entrySize(key, previous)
    if (text === undefined) {
      this.data.delete(key)
    } else {
      this.data.set(key, text)
      this.size += entrySize(key, text)
    }
  }

  /**
   * Takes over what another record holds: all of its data, or only some keys.
   *
   * ```ts
   * fresh.inherit(record, ['theme', 'language'])
   * ```
   */
  inherit(other: SessionRecord, keys: readonly string[] | null): void {
    this.expiry = other.expiry
    this.principal = other.principal
    this.metadata = other.metadata
    for (const [key, text] of other.data) {
      if (keys === null || keys.includes(key)) this.apply(key, text)
    }
  }

  /**
   * A copy that shares nothing with this record.
   *
   * ```ts
   * const before = record.copy()
   * ```
   */
  copy(): SessionRecord {
    const copy = new SessionRecord(this)
    copy.inherit(this, null)
    return copy
  }
}

/** The bytes that one entry takes of its session's limit. */
export function entrySize(key: string, text: string): number {
  return Buffer.byteLength(key) + Buffer.byteLength(text)
}
