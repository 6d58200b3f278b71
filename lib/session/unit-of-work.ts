import { inspect } from 'node:util'
import { deadline, type Expiry } from '../record/expiry.js'
import { createSessionId, handleOf, shortHandle } from '../record/handle.js'
import { notesOf } from '../record/notes.js'
import type { SessionRecord } from '../record/record.js'
import { decodeValue, encodeValue, isMutable } from '../record/value.js'
import { noteActivity, whatIsDue } from './activity.js'
import { Calls } from './calls.js'
import { type Attributes, Draft, type Times } from './draft.js'
import { checkKey, checkSize } from './limits.js'
import type { Registration } from './registration.js'

/** What the response must tell the browser about its session cookie. */
export type CookieAction = 'none' | 'set' | 'clear'

/**
 * How far the session of this request is. It has none yet; or begins one, which is stored if there
 * is something in it (`new`) or in any case (`wanted`); or has one that the store knows; or has
 * ended its own, and begun no other.
 */
type Phase = 'none' | 'new' | 'wanted' | 'stored' | 'ended'

const NO_DATA: ReadonlyMap<string, string> = new Map()

/**
 * One request's work on its session, from load to response: the record that it works on, what it
 * has changed of that, what the response must wait for, and what it tells the browser.
 *
 * The record is the shared live record of its session, or a new one of its own. Changes reach it at
 * once, so that parallel requests build on each other's; the {@link Draft} has what is to be stored.
 *
 * Private members are TypeScript's, not `#`: each request makes one of these, and V8 initialises
 * those object by object, methods by a call into its runtime (docs/benchmarks.md).
 */
export class UnitOfWork {
  readonly registration: Registration
  record: SessionRecord | null
  /** Of the record; `null` also where only the visitor has it. */
  id: string | null
  phase: Phase
  /** An exclusive route has let this request in, and it may move the session to another id. */
  hasTurn = false
  draft: Draft | null = null
  /** What was asked of the session and may not have been awaited. */
  calls: Calls | null = null
  /** The last renewal: until it has ended, the store may not know the record. */
  renewing: Promise<unknown> | null = null
  /** The response is out: changes are stored as they come. */
  closed = false
  /** The session has ended elsewhere, and took along what was to be stored. */
  lost = false
  /** The browser is to get the cookie of the session, if there is one by then. */
  sendsCookie: boolean
  /** Failing that, it is to lose the one that it has. */
  clearsCookie: boolean
  /** What the record had when this began to follow it; `null` for who does not. */
  followed: Pick<SessionRecord, 'expiry' | 'metadata'> | null = null
  private refusal: (() => Error) | null = null

  constructor(
    registration: Registration,
    record: SessionRecord | null,
    id: string | null,
    cookie: CookieAction
  ) {
    this.registration = registration
    this.record = record
    this.id = id
    this.phase = record === null ? 'none' : 'stored'
    this.sendsCookie = cookie === 'set'
    this.clearsCookie = cookie === 'clear'
  }

  /** In consoles and logs: a request shows it, and with it would show id and data. */
  [inspect.custom](): string {
    return `Session ${this.record === null ? '(none)' : shortHandle(this.record.handle)}`
  }

  // ---- the session ----

  /** Whether the store knows the record. */
  get stored(): boolean {
    return this.phase === 'stored'
  }

  /** The session, unless it is a new one that there is nothing to keep of: that does not begin. */
  get begun(): SessionRecord | null {
    const { record } = this
    return record === null || this.phase !== 'new' || !isBlank(record) ? record : null
  }

  /** What can be read: a session that was destroyed under this request has nothing more to say. */
  get readable(): SessionRecord | null {
    return this.record === null || this.isDead(this.record) ? null : this.record
  }

  get data(): ReadonlyMap<string, string> {
    return this.readable?.data ?? NO_DATA
  }

  get expiry(): Expiry {
    return this.record?.expiry ?? this.registration.expiry
  }

  /** Whether the session has ended, be it by this request or by another. */
  get isOver(): boolean {
    return this.record === null ? this.phase === 'ended' : this.isDead(this.record)
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

  /** Lets no session begin here. */
  refuseNew(refusal: () => Error): void {
    this.refusal = refusal
  }

  /** Begins a session before there is anything in it. */
  beginEmpty(): void {
    this.own()
    this.phase = 'wanted'
    this.markDirty()
  }

  /**
   * The record to change; a new visitor's is made here.
   *
   * @throws {RouteWithoutSessionError} {@link OutsideCookiePathError} where none may begin
   */
  own(): SessionRecord {
    if (this.record !== null) return this.record
    if (this.refusal !== null) throw this.refusal()
    const { registration } = this
    const now = registration.now()
    const id = createSessionId()
    const expiresAt = deadline(registration.expiry, now, now, registration)
    const start = { handle: handleOf(id), createdAt: now, lastSeenAt: now, expiresAt }
    this.record = registration.store.create(start)
    this.id = id
    this.phase = 'new'
    this.draft = null
    this.sendsCookie = true
    return this.record
  }

  /** Goes on with another record of the same session, and so with the objects of what it has. */
  moveTo(record: SessionRecord, id: string): void {
    this.record = record
    this.id = id
    this.draft?.rebase(record.data)
    this.sendsCookie = true
    noteActivity(record, this.registration)
  }

  /** Goes on without a session: this request has ended it, or it may begin another. */
  detach(phase: 'none' | 'ended'): void {
    this.record = null
    this.id = null
    this.phase = phase
    this.draft = null
    this.sendsCookie = false
  }

  /** As `detach`, from a session that has ended elsewhere: this request may begin another. */
  detachLost(): void {
    this.lost = true
    this.detach('none')
  }

  /** It could not be ended: without its cookie, its visitor could not try again. */
  liveOn(): void {
    this.clearsCookie = false
    if (this.phase === 'ended') this.phase = 'none'
  }

  /** The session has ended elsewhere, and the changes of it with it. */
  dropLost(record: SessionRecord): void {
    this.lost = true
    this.draft = null
    this.registration.log.debug(
      { session: shortHandle(record.handle) },
      'session changes were dropped: it was destroyed, renewed or expired in the meantime'
    )
  }

  // ---- reading and changing ----

  get(key: string): unknown {
    const text = this.data.get(key)
    if (text === undefined) return undefined
    if (this.draft === null && !isMutable(text)) return decodeValue(text)
    return this.edit().get(key, text)
  }

  /** A key's value as it is now, in a copy: what becomes of that is the caller's own affair. */
  copy(key: string): unknown {
    this.collect()
    const text = this.data.get(key)
    return text === undefined ? undefined : decodeValue(text)
  }

  set(key: string, value: unknown): void {
    checkKey(key)
    const text = encodeValue(key, value, this.registration.maxRecordSize)
    if (!this.isClean || this.data.get(key) !== text) this.change(key, text)
    if (this.draft !== null || isMutable(text)) this.edit().put(key, value, text)
  }

  delete(key: string): void {
    this.draft?.dropObject(key)
    this.change(key, undefined)
  }

  change(key: string, text: string | undefined): void {
    checkKey(key)
    const record = this.own()
    if (text !== undefined) checkSize(record, key, text, this.registration.maxRecordSize)
    record.apply(key, text)
    notesOf(record).revision++
    this.edit().note(key, text)
    this.markDirty()
  }

  /** Sets what the record has beside its data. */
  setAttributes(attributes: Attributes): void {
    const record = this.own()
    for (const name of Object.keys(attributes) as (keyof Attributes)[]) {
      // What a parallel request has set to the same is left to that one.
      if (record[name] !== attributes[name]) this.edit().noteAttribute(name, attributes[name])
    }
    Object.assign(record, attributes)
    notesOf(record).revision++
    this.markDirty()
  }

  touch(): void {
    const { record } = this
    if (record === null) return
    const from = timesOf(record)
    noteActivity(record, this.registration)
    this.edit().noteMove(from, timesOf(record))
    this.markDirty()
  }

  /** Whether all that others see of the record is stored: only then does setting it again add nothing. */
  get isClean(): boolean {
    if (!this.stored || this.record === null) return false
    const { revision, storedRevision } = notesOf(this.record)
    return revision === storedRevision
  }

  get isModified(): boolean {
    this.collect()
    return this.isDirty && this.begun !== null
  }

  markDirty(): void {
    this.edit().isDirty = true
    if (this.closed) this.registration.background.plan(this)
  }

  /** Finds the values that were changed in place. */
  collect(): void {
    const { draft } = this
    if (draft === null || !draft.hasObjects || this.readable === null) return
    draft.collect(this.registration.maxRecordSize, (key, text) => this.change(key, text))
  }

  edit(): Draft {
    this.draft ??= new Draft()
    return this.draft
  }

  get isDirty(): boolean {
    return this.draft?.isDirty === true
  }

  /** Whether it is worth to ask whether it is modified: that looks into every object. */
  get mayBeModified(): boolean {
    return this.draft !== null && (this.draft.isDirty || this.draft.hasObjects)
  }

  /** Several processes write: each load gave a record of its own, which nobody else changes. */
  get isUnshared(): boolean {
    return this.registration.store.writers === 'several'
  }

  // ---- the response ----

  /** The response waits for this, and fails if it does. */
  hold(work: Promise<void>): void {
    this.calls ??= new Calls()
    this.calls.hold(work)
  }

  /** The response is out, or will never be; changes still unsaved are stored now. */
  close(): void {
    if (this.closed) return
    this.closed = true
    const { record, registration } = this
    if (record === null) return
    // A response that was hijacked or cut off has not planned it.
    if (this.stored && whatIsDue('close', record, registration).touch) {
      registration.touches.plan(record)
    }
    if (this.mayBeModified) registration.background.start(this)
  }
}

function timesOf({ lastSeenAt, expiresAt }: SessionRecord): Times {
  return { lastSeenAt, expiresAt }
}

function isBlank({ data, principal, metadata, expiry }: SessionRecord): boolean {
  return data.size === 0 && principal === null && metadata === null && expiry === null
}
