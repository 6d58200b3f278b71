import { setTimeout } from 'node:timers/promises'
import {
  InvalidOptionError,
  SessionBusyError,
  SessionIdUnknownError,
  SessionTooLargeError
} from '../errors.js'
import type { Expiry } from '../record/expiry.js'
import { checkPrincipal } from '../record/principal.js'
import type { SessionRecord } from '../record/record.js'
import { decodeValue, encodeValue } from '../record/value.js'
import type { SessionData } from './data.js'
import type { Leave } from './turnstile.js'
import type { UnitOfWork } from './unit-of-work.js'
import { checkKey, noteActivity } from './working-record.js'

/**
 * Of an update, and in ms between them. One that loses nine of ten races to a busy other process
 * would give up once in 40,000 times after 100 attempts.
 */
const MAX_ATTEMPTS = 300
const LONGEST_PAUSE = 20
const MAX_METADATA_BYTES = 4096

/**
 * One visitor's session, as handlers see it on `request.session`.
 *
 * All parallel requests of a session share its live record: what one sets, the others get at
 * once. On a store that several processes write to, each request has what was stored when it
 * came, and what it changes is merged key by key. Changes are stored before the response leaves.
 * Objects that `get` returns belong to this request, and changing them in place is saved as `set`
 * would be.
 */
export class Session {
  readonly #work: UnitOfWork

  /** @internal sessions are made by the plugin and by `fastify.sessions` */
  constructor(work: UnitOfWork) {
    this.#work = work
  }

  // ---- data ----

  /**
   * The value of a key, or `undefined`. Known keys are typed by {@link SessionData}, others by
   * the type argument.
   */
  get<K extends keyof SessionData & string>(key: K): SessionData[K] | undefined
  get<T = unknown>(key: string): T | undefined
  get(key: string): unknown {
    return this.#work.get(key)
  }

  /**
   * Sets a key. Values are what JSON holds and Date, Map, Set, BigInt, Uint8Array, undefined and
   * any number, in any nesting; they come back exactly. The first value that is set makes a new
   * visitor's session.
   *
   * @throws {ValueNotStorableError} `SLED_SESSION_VALUE_NOT_STORABLE` for functions, symbols,
   *   circular references and class instances
   * @throws {SessionTooLargeError} `SLED_SESSION_TOO_LARGE` over `maxRecordSize`
   */
  set<K extends keyof SessionData & string>(key: K, value: SessionData[K]): void
  set<K extends string>(key: K extends keyof SessionData ? never : K, value: unknown): void
  set(key: string, value: unknown): void {
    this.#work.set(key, value)
  }

  /** Whether the key is set, be it to `undefined`. */
  has(key: string): boolean {
    return this.#work.data.has(key)
  }

  /** Deletes a key; false if it was not set. */
  delete(key: string): boolean {
    if (!this.has(key)) return false
    this.#work.delete(key)
    return true
  }

  /** Gets and deletes in one: a flash message that is read once. */
  pop<K extends keyof SessionData & string>(key: K): SessionData[K] | undefined
  pop<T = unknown>(key: string): T | undefined
  pop(key: string): unknown {
    const value = this.get(key)
    this.delete(key)
    return value
  }

  /** The keys that are set, in the order in which they first were. */
  keys(): string[] {
    return [...this.#work.data.keys()]
  }

  /** All keys with their values. */
  entries(): [key: string, value: unknown][] {
    return this.keys().map((key) => [key, this.get(key)])
  }

  /**
   * Replaces a key's value by what `fn` makes of it, atomically: of all updates of a key of a
   * session only one runs at a time in this process, even while `fn` awaits.
   *
   * On a store that several processes write to, the value is stored before this resolves, and
   * only if nobody has changed it since `fn` got it; otherwise `fn` runs again with what is there
   * now. So let `fn` do nothing but make the value.
   *
   * @returns the new value
   * @throws as `set` does, and whatever `fn` throws; the value is then unchanged
   * @throws {SessionBusyError} `SLED_SESSION_BUSY` if other processes change it all the time
   */
  update<K extends keyof SessionData & string>(
    key: K,
    fn: (value: SessionData[K] | undefined) => SessionData[K] | Promise<SessionData[K]>
  ): Promise<SessionData[K]>
  update<T, K extends string = string>(
    key: K extends keyof SessionData ? never : K,
    fn: (value: T | undefined) => T | Promise<T>
  ): Promise<T>
  async update(key: string, fn: (value: unknown) => unknown): Promise<unknown> {
    checkKey(key)
    const work = this.#work
    const { handle } = work.own()
    const leave = (await work.policy.updates.enter(`${handle}${key}`)) as Leave
    try {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        // Chance parts those who keep getting in each other's way.
        if (attempt > 1) await setTimeout(Math.random() * LONGEST_PAUSE)
        await work.beginUpdate(key)
        const expected = work.data.get(key)
        const value = await fn(work.copy(key))
        if (await work.swap(key, expected, value)) return value
      }
      throw new SessionBusyError('other processes keep changing the value')
    } finally {
      leave()
    }
  }

  /** Deletes every key. The session itself, its id and its expiry stay. */
  clear(): void {
    for (const key of this.keys()) this.delete(key)
  }

  /** How many keys are set. */
  get size(): number {
    return this.#work.data.size
  }

  get isEmpty(): boolean {
    return this.size === 0
  }

  // ---- life ----

  /**
   * The session's id: 256 random bits in base64url. It is a password: keep it out of logs and
   * pages, and use {@link handle} to speak of a session. A new session gets its id here.
   *
   * @throws {SessionIdUnknownError} `SLED_SESSION_ID_UNKNOWN` on a session that was found by its
   *   handle: only its visitor has the id
   */
  get id(): string {
    this.#work.own()
    if (this.#work.id === null) throw new SessionIdUnknownError()
    return this.#work.id
  }

  /** A name for this session that does not reveal its id, or `null` before it has one. */
  get handle(): string | null {
    return this.#work.record?.handle ?? null
  }

  /**
   * Whether another request destroyed or renewed it: it is empty then, and changes are dropped.
   * On a store that several processes write to, this is found out by the next save or reload.
   */
  get isDestroyed(): boolean {
    return this.#work.record?.destroyed ?? false
  }

  /** Whether the visitor came without a valid session. */
  get isNew(): boolean {
    return !this.#work.stored
  }

  /** Whether there are changes that are not stored yet. */
  get isModified(): boolean {
    return this.#work.isModified
  }

  /** When the session was last used, or `null` before it began. */
  get lastSeenAt(): Date | null {
    return this.#work.record === null ? null : new Date(this.#work.record.lastSeenAt)
  }

  /** When the session began, or `null` before it did. */
  get createdAt(): Date | null {
    return this.#work.record === null ? null : new Date(this.#work.record.createdAt)
  }

  /**
   * Stores the changes now and resolves when they are durable. Needed only where the plugin
   * cannot do it before the response leaves, as after `reply.hijack()`.
   *
   * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`
   */
  save(): Promise<void> {
    return this.#work.save()
  }

  /**
   * Drops this request's unsaved changes and reads what is stored. A session that is gone from
   * the store is then a new, empty one.
   *
   * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`
   */
  reload(): Promise<void> {
    return this.#work.reload()
  }

  /**
   * Ends the session: its data is gone and its id is dead, for parallel requests too. A value set
   * afterwards begins a new session.
   *
   * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`; the session then lives on
   */
  destroy(): Promise<void> {
    return this.#work.destroy()
  }

  /**
   * Gives the session a new id, against fixation: do this whenever the visitor's rights change.
   * The old id is dead at once, for parallel requests too; what those change is dropped.
   *
   * @param options.keep true (default) keeps the data, a list keeps these keys, false drops all;
   *   a list in the place of the options, as @fastify/passport gives it, means the same
   * @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` for any other `keep`
   * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`; the old id then lives on
   */
  regenerate(
    options: { keep?: boolean | readonly string[] } | readonly string[] = {}
  ): Promise<void> {
    const { keep = true } = isList(options) ? { keep: options } : options
    if (!isKeep(keep)) {
      const problem = 'must be true, false or a list of session keys'
      return Promise.reject(new InvalidOptionError('keep', problem))
    }
    this.#work.leaveDestroyed(false)
    return this.#work.renew(keep, () => {})
  }

  // ---- user ----

  /** The user whom the session belongs to, or `null` before login. */
  get principal(): string | null {
    return this.#work.record === null || this.#work.record.destroyed
      ? null
      : this.#work.record.principal
  }

  /**
   * Says whose session this is, at login, or with `null` that it is nobody's. It is then in
   * `fastify.sessions.list(principal)`.
   *
   * @param options.metadata see {@link metadata}
   * @param options.renew whether the session gets a new id, against fixation; default true
   * @throws {InvalidPrincipalError} `SLED_SESSION_INVALID_PRINCIPAL` unless it is a text of 1 to
   *   1,024 bytes
   * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`
   */
  setPrincipal(
    principal: string | null,
    options: { metadata?: unknown; renew?: boolean } = {}
  ): Promise<void> {
    let metadata: string | null | undefined
    try {
      if (principal !== null) checkPrincipal(principal)
      if ('metadata' in options) metadata = encodeMetadata(options.metadata)
    } catch (error) {
      return Promise.reject(error)
    }
    return assignPrincipal(this.#work, principal, metadata, options.renew !== false)
  }

  /** What a list of the user's sessions shows of this one, such as the user agent: any value. */
  get metadata(): unknown {
    const metadata = this.isDestroyed ? null : (this.#work.record?.metadata ?? null)
    return metadata === null ? undefined : decodeValue(metadata)
  }

  set metadata(value: unknown) {
    const metadata = encodeMetadata(value)
    this.#work.own().metadata = metadata
    this.#work.markDirty()
  }

  // ---- expiry ----

  /**
   * This session's expiry; setting it moves its deadline and sends the cookie anew.
   *
   * @throws {InvalidExpiryError} `SLED_SESSION_INVALID_EXPIRY` unless it was made by one of the
   *   functions for it
   */
  get expiry(): Expiry {
    return this.#work.expiry
  }

  set expiry(expiry: Expiry) {
    this.#work.setExpiry(expiry)
  }

  /** When the session expires if nothing more happens, or `null` before it exists. */
  get expiresAt(): Date | null {
    return this.#work.record === null ? null : new Date(this.#work.record.expiresAt)
  }

  /** Milliseconds until then; 0 before the session exists. */
  get expiresIn(): number {
    return this.#work.record === null
      ? 0
      : Math.max(0, this.#work.record.expiresAt - this.#work.policy.now())
  }

  /** Counts as activity: moves the deadline, and stores it with the response. */
  touch(): void {
    const { record } = this.#work
    if (record === null) return
    noteActivity(record, this.#work.policy)
    this.#work.markDirty()
  }
}

/** A renewal that nobody awaits and that fails must not end the process; the response gets it. */
function assignPrincipal(
  work: UnitOfWork,
  principal: string | null,
  metadata: string | null | undefined,
  renew: boolean
): Promise<void> {
  const assign = (record: SessionRecord): void => {
    record.principal = principal
    if (metadata !== undefined) record.metadata = metadata
  }
  // A stranger is nobody already: a logout begins no session.
  const silent = principal === null && (metadata ?? null) === null
  work.leaveDestroyed(!silent)
  if (silent && work.record === null) return Promise.resolve()
  const begin = (): void => {
    assign(work.own())
    work.markDirty()
  }
  if (renew && work.record !== null) {
    const renewed = work.renew(true, assign).then(() => {
      // Another process may have ended the session: then a login begins one, and a logout is done.
      if (work.record === null && !silent) begin()
    })
    renewed.catch(() => {})
    return renewed
  }
  begin()
  return Promise.resolve()
}

function isList(options: object): options is readonly string[] {
  return Array.isArray(options)
}

function isKeep(keep: unknown): boolean {
  if (typeof keep === 'boolean') return true
  return Array.isArray(keep) && keep.every((key) => typeof key === 'string')
}

function encodeMetadata(value: unknown): string | null {
  if (value === undefined) return null
  const text = encodeValue('metadata', value, MAX_METADATA_BYTES)
  if (Buffer.byteLength(text) > MAX_METADATA_BYTES) {
    throw new SessionTooLargeError('metadata', MAX_METADATA_BYTES)
  }
  return text
}
