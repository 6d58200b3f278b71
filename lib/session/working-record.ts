import { inspect } from 'node:util'
import { SessionTooLargeError, ValueNotStorableError } from '../errors.js'
import { checkExpiry, deadline, type Expiry, isSameExpiry } from '../record/expiry.js'
import { createSessionId, handleOf, shortHandle } from '../record/handle.js'
import { entrySize, type SessionRecord } from '../record/record.js'
import { decodeValue, encodeValue, isMutable } from '../record/value.js'
import { noteActivity } from './activity.js'
import { HandedOutValues } from './handed-out-values.js'
import { type Holder, type HolderChange, isLeft, isLogin } from './login.js'
import { notesOf } from './notes.js'
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
  /** Whether this request has set the session's expiry, and so for whoever has it at the end. */
  private expirySet = false
  /** It is to be stored though there is nothing in it. */
  private wanted = false
  /** What the browser is told if nothing begins after all. */
  protected cookieBefore: CookieAction = 'none'
  private sealed: (() => Error) | null = null
  /** What the record had when this began to follow it; `null` for who does not. */
  private followed: Pick<SessionRecord, 'expiry' | 'metadata'> | null = null

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

  /** The session, unless it is a new one that there is nothing to keep of: that does not begin. */
  get begun(): SessionRecord | null {
    const { record } = this
    return record === null || this.stored || this.wanted || !isBlank(record) ? record : null
  }

  /** Begins a session before there is anything in it. */
  beginEmpty(): void {
    this.own()
    this.wanted = true
    this.markDirty()
  }

  /** What can be read: a session that was destroyed under this request has nothing more to say. */
  get data(): ReadonlyMap<string, string> {
    return this.record === null || this.isDead(this.record) ? NO_DATA : this.record.data
  }

  /** Whoever follows renewals reads on in what was there: what comes of it goes to the new record. */
  isDead(record: SessionRecord): boolean {
    return record.destroyed && this.followed === null
  }

  /** What is changed from here on is meant for the session, whatever id it has by then. */
  followRenewals(): void {
    if (this.record === null) return
    const { expiry, metadata } = this.record
    this.followed = { expiry, metadata }
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
    return this.dirty && this.begun !== null
  }

  get(key: string): unknown {
    const text = this.data.get(key)
    if (text === undefined) return undefined
    if (this.handed === null && !isMutable(text)) return decodeValue(text)
    this.handed ??= new HandedOutValues()
    return this.handed.get(key, text)
  }

  set(key: string, value: unknown): void {
    checkKey(key)
    const text = encodeValue(key, value, this.policy.maxRecordSize)
    if (!this.isStoredAs(key, text)) this.change(key, text)
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
    this.expirySet = true
    if (this.isClean && isSameExpiry(record.expiry, expiry)) return
    tellIfCapped(expiry, this.policy)
    record.expiry = expiry
    notesOf(record).revision++
    noteActivity(record, this.policy)
    this.markDirty()
    this.cookie = 'set'
  }

  touch(): void {
    if (this.record === null) return
    noteActivity(this.record, this.policy)
    this.markDirty()
  }

  setMetadata(metadata: string | null): void {
    const { record } = this
    if (metadata === (record?.metadata ?? null) && (record === null || this.isClean)) return
    const own = this.own()
    own.metadata = metadata
    notesOf(own).revision++
    this.markDirty()
  }

  /** Whether all that others see of the record is stored: only then does setting it again add nothing. */
  protected get isClean(): boolean {
    const { record } = this
    if (!this.stored || record === null) return false
    const { revision, storedRevision } = notesOf(record)
    return revision === storedRevision
  }

  private isStoredAs(key: string, text: string): boolean {
    return this.isClean && this.data.get(key) === text
  }

  /** Gives the session to somebody under the id that it has. */
  hand(change: HolderChange): void {
    const record = this.own()
    const holder = this.holderAfter(change)
    const keep = change.keep ?? !this.isLeft(holder)
    if (keep !== true) this.dropAllBut(keep === false ? [] : keep)
    const expiry = this.expiryFor(holder, false)
    const same = record.principal === holder.principal && record.metadata === holder.metadata
    if (same && expiry === record.expiry && this.isClean) return
    notesOf(record).revision++
    if (expiry !== record.expiry) this.cookie = 'set'
    record.expiry = expiry
    if (isLogin(record, holder)) record.createdAt = this.policy.now()
    record.principal = holder.principal
    record.metadata = holder.metadata
    noteActivity(record, this.policy)
    this.markDirty()
  }

  protected holderAfter({ principal, metadata }: HolderChange): Holder {
    if (metadata !== undefined) return { principal, metadata }
    const left = this.isLeft({ principal, metadata: null })
    return { principal, metadata: left ? null : (this.record?.metadata ?? null) }
  }

  protected isLeft(by: Holder): boolean {
    return this.record !== null && isLeft(this.record, by)
  }

  /** A long life that one user asked for is not the next one's. */
  protected expiryFor(holder: Holder, dropped: boolean): Expiry | null {
    const ends = dropped || this.isLeft(holder)
    return ends && !this.expirySet ? null : (this.record?.expiry ?? null)
  }

  private dropAllBut(keys: readonly string[]): void {
    for (const key of [...this.data.keys()]) if (!keys.includes(key)) this.delete(key)
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
    const start = { handle: handleOf(id), createdAt: now, lastSeenAt: now, expiresAt }
    const record = this.policy.store.create(start)
    this.cookieBefore = this.cookie
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
    this.wanted = false
    this.forgetChanges()
  }

  /** Goes on with another record of the same session, and so with the objects of what it has. */
  protected move(record: SessionRecord, id: string): void {
    const { handed, expirySet, wanted } = this
    this.reset(record, id)
    handed?.retain(record.data)
    this.handed = handed
    this.expirySet = expirySet
    this.wanted = wanted
  }

  protected forgetChanges(): void {
    this.changes = null
    this.dirty = false
    this.handed = null
    this.expirySet = false
  }

  /** Finds the values that were changed in place. One that cannot be stored stays as it was. */
  protected collect(): void {
    const handed = this.handed
    if (handed === null || this.record === null || this.isDead(this.record)) return
    try {
      handed.collect(this.policy.maxRecordSize, (key, text) => this.change(key, text))
    } catch (error) {
      this.handed = null
      throw error
    }
  }

  /** Changes the next record of the session as this one was. */
  protected carryOver(from: SessionRecord, next: SessionRecord): void {
    const { changes, dirty, followed } = this
    this.record = next
    this.id = null
    this.changes = null
    this.dirty = false
    this.followRenewals()
    for (const [key, text] of changes ?? []) this.change(key, text)
    if (from.metadata !== followed?.metadata) next.metadata = from.metadata
    if (from.expiry !== followed?.expiry) next.expiry = from.expiry
    if (!dirty) return
    notesOf(next).revision++
    noteActivity(next, this.policy)
    this.markDirty()
  }

  /** Changes that were to be stored, and that the end of the record kept out. */
  protected restoreChanges(changes: ReadonlyMap<string, string | undefined> | null): void {
    this.changes = new Map([...(changes ?? []), ...(this.changes ?? [])])
    this.dirty = true
  }

  protected change(key: string, text: string | undefined): void {
    checkKey(key)
    const record = this.own()
    if (text !== undefined) checkSize(record, key, text, this.policy.maxRecordSize)
    record.apply(key, text)
    notesOf(record).revision++
    this.changes ??= new Map()
    this.changes.set(key, text)
    this.markDirty()
  }
}

function isBlank({ data, principal, metadata, expiry }: SessionRecord): boolean {
  return data.size === 0 && principal === null && metadata === null && expiry === null
}

/** Registrations whose log has been told, by their store. */
const told = new WeakSet<object>()

/** An expiry beyond the absolute timeout would be cut short without a word. */
function tellIfCapped(expiry: Expiry, { absoluteTimeout, now, log, store }: Registration): void {
  if (absoluteTimeout === null || expiry.kind === 'session-end' || told.has(store)) return
  const time = expiry.kind === 'inactivity' ? expiry.milliseconds : expiry.at - now()
  if (time <= absoluteTimeout) return
  told.add(store)
  log.warn(
    { expiry: time, absoluteTimeout },
    'a session was given an expiry, in ms, beyond absoluteTimeout, which ends it first: raise absoluteTimeout to the longest life that any session may have, and give the others a shorter expiry'
  )
}

/** @throws {SessionTooLargeError} */
function checkSize(record: SessionRecord, key: string, text: string, limit: number): void {
  const previous = record.data.get(key)
  const freed = previous === undefined ? 0 : entrySize(key, previous)
  if (record.size - freed + entrySize(key, text) > limit) {
    throw new SessionTooLargeError(JSON.stringify(key.slice(0, 100)), limit)
  }
}

/** @throws {ValueNotStorableError} */
export function checkKey(key: string): void {
  if (typeof key !== 'string') throw new ValueNotStorableError(String(key), 'a key must be a text')
}
