import { inspect } from 'node:util'
import { SessionTooLargeError, ValueNotStorableError } from '../errors.js'
import { checkExpiry, deadline, defaultTouchInterval, type Expiry } from '../record/expiry.js'
import { createSessionId, handleOf, shortHandle } from '../record/handle.js'
import { entrySize, type SessionRecord } from '../record/record.js'
import { decodeValue, encodeValue, isMutable } from '../record/value.js'
import { HandedOutValues } from './handed-out-values.js'
import type { Registration } from './registration.js'

/** What the response must tell the browser about its session cookie. */
export type CookieAction = 'none' | 'set' | 'clear'

const NO_DATA: ReadonlyMap<string, string> = new Map()

/**
 * The record that one request works on: the shared live record of its session, or a new one of
 * its own, and what this request has changed of it. Changes reach the record at once, so that
 * parallel requests build on each other's; storing them is up to {@link UnitOfWork}.
 *
 * Private members are TypeScript's, not `#`: each request makes one of these, and V8 initialises
 * those object by object, methods by a call into its runtime (docs/benchmarks.md).
 */
export class WorkingRecord {
  readonly policy: Registration
  record: SessionRecord | null
  id: string | null
  /** Whether the store knows the record. */
  stored: boolean
  protected changes: Map<string, string | undefined> | null = null
  /** Something is to be stored, be it data, expiry or principal. */
  protected dirty = false
  protected cookie: CookieAction
  private handed: HandedOutValues | null = null
  private sealed: (() => Error) | null = null

  constructor(
    policy: Registration,
    record: SessionRecord | null,
    id: string | null,
    cookie: CookieAction
  ) {
    this.policy = policy
    this.record = record
    this.id = id
    this.stored = record !== null
    this.cookie = cookie
  }

  /** In consoles and logs: a request shows it, and with it would show id and data. */
  [inspect.custom](): string {
    return `Session ${this.record === null ? '(none)' : shortHandle(this.record.handle)}`
  }

  /** What can be read: a session that was destroyed under this request has nothing more to say. */
  get data(): ReadonlyMap<string, string> {
    return this.record === null || this.record.destroyed ? NO_DATA : this.record.data
  }

  get expiry(): Expiry {
    return this.record?.expiry ?? this.policy.expiry
  }

  /** Whether it is worth to ask whether it is modified: that looks into every object. */
  protected get mayBeModified(): boolean {
    return this.dirty || this.handed !== null
  }

  get isModified(): boolean {
    this.collect()
    return this.dirty
  }

  get(key: string): unknown {
    const text = this.data.get(key)
    if (text === undefined) return undefined
    if (this.handed === null && !isMutable(text)) return decodeValue(text)
    this.handed ??= new HandedOutValues()
    return this.handed.get(key, text)
  }

  set(key: string, value: unknown): void {
    const text = encodeValue(key, value, this.policy.maxRecordSize)
    this.change(key, text)
    if (this.handed === null && !isMutable(text)) return
    this.handed ??= new HandedOutValues()
    this.handed.put(key, value, text)
  }

  /** A value as text, if there is room for it. */
  protected encode(key: string, value: unknown): string {
    const text = encodeValue(key, value, this.policy.maxRecordSize)
    checkSize(this.own(), key, text, this.policy.maxRecordSize)
    return text
  }

  /** What was set or changed in place of a key is not to be saved: it may not be what is stored. */
  protected disown(key: string): void {
    this.changes?.delete(key)
    this.handed?.forget(key)
  }

  /** A value was stored past `changes`: there is nothing of it left to save but the activity. */
  protected keepSwapped(record: SessionRecord, key: string, value: unknown, text: string): void {
    this.handed ??= new HandedOutValues()
    this.handed.put(key, value, text)
    noteActivity(record, this.policy)
  }

  delete(key: string): void {
    this.handed?.forget(key)
    this.change(key, undefined)
  }

  /** A key's value as it is now, in a copy: what becomes of that is the caller's own affair. */
  copy(key: string): unknown {
    this.collect()
    const text = this.data.get(key)
    return text === undefined ? undefined : decodeValue(text)
  }

  setExpiry(expiry: Expiry): void {
    checkExpiry(expiry)
    const record = this.own()
    record.expiry = expiry
    noteActivity(record, this.policy)
    this.markDirty()
    this.cookie = 'set'
  }

  /** Lets no session begin here. */
  seal(refusal: () => Error): void {
    this.sealed = refusal
  }

  /**
   * The record to change; a new visitor's is made here.
   *
   * @throws {RouteWithoutSessionError} {@link OutsideCookiePathError} where none may begin
   */
  own(): SessionRecord {
    if (this.record !== null) return this.record
    if (this.sealed !== null) throw this.sealed()
    const now = this.policy.now()
    const id = createSessionId()
    const expiresAt = deadline(this.policy.expiry, now, now, this.policy)
    const record = this.policy.store.create(handleOf(id), now, now, expiresAt)
    this.reset(record, id)
    this.cookie = 'set'
    return record
  }

  markDirty(): void {
    this.dirty = true
  }

  protected reset(record: SessionRecord | null, id: string | null): void {
    this.record = record
    this.id = id
    this.stored = false
    this.forgetChanges()
  }

  /** Goes on with another record of the same session, and so with the objects of what it has. */
  protected move(record: SessionRecord, id: string): void {
    const handed = this.handed
    this.reset(record, id)
    handed?.retain(record.data)
    this.handed = handed
  }

  protected forgetChanges(): void {
    this.changes = null
    this.dirty = false
    this.handed = null
  }

  /** Finds the values that were changed in place. One that cannot be stored stays as it was. */
  protected collect(): void {
    const handed = this.handed
    if (handed === null || this.record === null || this.record.destroyed) return
    try {
      handed.collect(this.policy.maxRecordSize, (key, text) => this.change(key, text))
    } catch (error) {
      this.handed = null
      throw error
    }
  }

  protected change(key: string, text: string | undefined): void {
    checkKey(key)
    const record = this.own()
    if (text !== undefined) checkSize(record, key, text, this.policy.maxRecordSize)
    record.apply(key, text)
    this.changes ??= new Map()
    this.changes.set(key, text)
    this.markDirty()
  }
}

/** @throws {SessionTooLargeError} */
function checkSize(record: SessionRecord, key: string, text: string, limit: number): void {
  const previous = record.data.get(key)
  const freed = previous === undefined ? 0 : entrySize(key, previous)
  if (record.size - freed + entrySize(key, text) > limit) {
    throw new SessionTooLargeError(JSON.stringify(key.slice(0, 100)), limit)
  }
}

/** Moves a record's deadline in memory, where it is always exact. */
export function noteActivity(record: SessionRecord, policy: Registration): void {
  const now = policy.now()
  record.lastSeenAt = now
  record.expiresAt = deadline(record.expiry ?? policy.expiry, record.createdAt, now, policy)
}

/** Whether disk has so much too early a last use, or too late a deadline, that it is worth a write. */
export function isStoreBehind(record: SessionRecord, policy: Registration): boolean {
  const interval = touchInterval(record, policy)
  const { lastSeenAt, storedSeenAt, expiresAt, storedExpiresAt } = record
  return lastSeenAt - storedSeenAt >= interval || storedExpiresAt - expiresAt >= interval
}

/** Whether the deadline is so far from the cookie's, either way, that the browser must be told. */
export function isCookieBehind(record: SessionRecord, policy: Registration): boolean {
  const { kind } = record.expiry ?? policy.expiry
  if (kind === 'session-end') return false
  return Math.abs(record.expiresAt - record.toldExpiresAt) >= touchInterval(record, policy)
}

/**
 * How long the browser is to keep the cookie, in ms, or `null` for until it ends. A deadline moves
 * by less than the touch interval without a word to the browser, and the cookie outlives that too.
 */
export function cookieLifetime(record: SessionRecord, policy: Registration): number | null {
  const { kind } = record.expiry ?? policy.expiry
  if (kind === 'session-end') return null
  const left = Math.max(0, record.expiresAt - policy.now())
  return kind === 'inactivity' && left > 0 ? left + touchInterval(record, policy) : left
}

function touchInterval(record: SessionRecord, policy: Registration): number {
  return policy.touchInterval ?? defaultTouchInterval(record.expiry ?? policy.expiry, policy)
}

/** @throws {ValueNotStorableError} */
export function checkKey(key: string): void {
  if (typeof key !== 'string') throw new ValueNotStorableError(String(key), 'a key must be a text')
}
