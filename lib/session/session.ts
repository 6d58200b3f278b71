import { SessionIdUnknownError } from '../errors.js'
import type { Expiry } from '../record/expiry.js'
import { decodeValue } from '../record/value.js'
import { setExpiry, setMetadata } from './attributes.js'
import { attend } from './calls.js'
import type { SessionData } from './data.js'
import { NO_PROPERTIES, refuseAssignments, refuseCallback } from './habits.js'
import {
  checkHolderChange,
  checkRenewal,
  encodeMetadata,
  type Keep,
  type SetPrincipalOptions
} from './login.js'
import { reload } from './reload.js'
import { destroy, renew, setPrincipal } from './renewal.js'
import { save } from './saving.js'
import type { UnitOfWork } from './unit-of-work.js'
import { update } from './update.js'

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
   *
   * ```ts
   * const counter = session.get<number>('counter') ?? 0
   * ```
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
   * ```ts
   * session.set('cart', { items: [7], addedAt: new Date() })
   * ```
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

  /**
   * Whether the key is set, be it to `undefined`.
   *
   * ```ts
   * if (!session.has('welcomed')) session.set('welcomed', true)
   * ```
   */
  has(key: string): boolean {
    return this.#work.data.has(key)
  }

  /**
   * Deletes a key; false if it was not set.
   *
   * ```ts
   * session.delete('draft')
   * ```
   */
  delete(key: string): boolean {
    if (!this.has(key)) return false
    this.#work.delete(key)
    return true
  }

  /**
   * Gets and deletes in one: a flash message that is read once.
   *
   * ```ts
   * const notice = session.pop<string>('notice')
   * ```
   */
  pop<K extends keyof SessionData & string>(key: K): SessionData[K] | undefined
  pop<T = unknown>(key: string): T | undefined
  pop(key: string): unknown {
    const value = this.get(key)
    this.delete(key)
    return value
  }

  /**
   * The keys that are set, in the order in which they first were.
   *
   * ```ts
   * session.keys() // ['counter', 'cart']
   * ```
   */
  keys(): string[] {
    return [...this.#work.data.keys()]
  }

  /**
   * All keys with their values.
   *
   * ```ts
   * const data = Object.fromEntries(session.entries())
   * ```
   */
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
   * ```ts
   * const visits = await session.update<number>('visits', (visits = 0) => visits + 1)
   * ```
   *
   * @returns the new value
   * @throws as `set` does, and whatever `fn` throws; the value is then unchanged
   * @throws {SessionBusyError} `SLED_SESSION_BUSY` if other processes change it all the time, or if
   *   an earlier update of the key has not ended after ten seconds, as of an update inside its own
   *   `fn`
   */
  update<K extends keyof SessionData & string>(
    key: K,
    fn: (value: SessionData[K] | undefined) => SessionData[K] | Promise<SessionData[K]>
  ): Promise<SessionData[K]>
  update<T, K extends string = string>(
    key: K extends keyof SessionData ? never : K,
    fn: (value: T | undefined) => T | Promise<T>
  ): Promise<T>
  update(key: string, fn: (value: unknown) => unknown): Promise<unknown> {
    return attend(this.#work, update(this.#work, key, fn))
  }

  /**
   * Deletes every key, and nothing else: id, principal, metadata, expiry and times stay. Whoever
   * is logged in stays logged in; see {@link destroy} and {@link setPrincipal}.
   *
   * ```ts
   * session.clear() // logged in, with nothing in the cart
   * ```
   */
  clear(): void {
    for (const key of this.keys()) this.delete(key)
  }

  /** How many keys are set. */
  get size(): number {
    return this.#work.data.size
  }

  /** Whether no key is set. */
  get isEmpty(): boolean {
    return this.size === 0
  }

  // ---- life ----

  /**
   * The session's id: 256 random bits in base64url, or `null` before there is anything to keep. It
   * is a password: keep it out of logs and pages, and use {@link handle} to speak of a session.
   *
   * @throws {SessionIdUnknownError} `SLED_SESSION_ID_UNKNOWN` on a session that was found by its
   *   handle: only its visitor has the id
   */
  get id(): string | null {
    if (this.#work.begun === null) return null
    if (this.#work.id === null) throw new SessionIdUnknownError()
    return this.#work.id
  }

  /** A name for this session that does not reveal its id, or `null` before it has one. */
  get handle(): string | null {
    return this.#work.begun?.handle ?? null
  }

  /**
   * Whether it has ended: this request destroyed it, or another destroyed or renewed it. It is
   * empty then. What is set after one's own `destroy` begins another session; changes of one that
   * others have ended are dropped. On a store that several processes write to, this is found out by the next save or reload.
   */
  get isDestroyed(): boolean {
    return this.#work.isOver
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
    return dateOf(this.#work.begun?.lastSeenAt)
  }

  /**
   * When the session began, or `null` before it did. A login begins it anew, and so does
   * `regenerate({ keep: false })`; `absoluteTimeout` counts from here.
   */
  get createdAt(): Date | null {
    return dateOf(this.#work.begun?.createdAt)
  }

  /**
   * Stores the changes now and resolves when they are durable. Needed only where the plugin
   * cannot do it before the response leaves, as after `reply.hijack()`.
   *
   * ```ts
   * reply.hijack()
   * session.set('upload', 'begun')
   * await session.save()
   * ```
   *
   * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`
   */
  save(): Promise<void>
  save(...given: unknown[]): Promise<void> {
    refuseCallback('save', given)
    return attend(this.#work, save(this.#work))
  }

  /**
   * Drops this request's unsaved changes and reads what is stored. A session that is gone from
   * the store is then a new, empty one.
   *
   * ```ts
   * session.set('plan', 'pro')
   * await session.reload()
   * session.get('plan') // as it was
   * ```
   *
   * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`
   */
  reload(): Promise<void>
  reload(...given: unknown[]): Promise<void> {
    refuseCallback('reload', given)
    return attend(this.#work, reload(this.#work))
  }

  /**
   * Ends the session: its data is gone and its id is dead, for parallel requests too. A value set
   * afterwards begins a new session.
   *
   * ```ts
   * await session.destroy()
   * return reply.redirect('/')
   * ```
   *
   * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`; the session then lives on
   */
  destroy(): Promise<void>
  destroy(...given: unknown[]): Promise<void> {
    refuseCallback('destroy', given)
    return attend(this.#work, destroy(this.#work))
  }

  /**
   * Gives the session a new id, against fixation: do this whenever the visitor's rights change.
   * The old id is dead at once, for parallel requests too; what those change is dropped.
   *
   * ```ts
   * await session.regenerate({ keep: ['locale'] })
   * ```
   *
   * @param options.keep true (default) keeps all, false nothing. A list keeps these keys, and like
   *   false drops principal and metadata: nobody is logged in any more. A list in the place of the
   *   options, as @fastify/passport gives it, means the same
   * @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` for any other `keep`, and for an unknown option
   * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`; the old id then lives on
   */
  regenerate(options?: { keep?: Keep } | readonly string[]): Promise<void>
  regenerate(...given: [options?: { keep?: Keep } | readonly string[]]): Promise<void> {
    refuseCallback('regenerate', given)
    const [options = {}] = given
    return attend(this.#work, this.#regenerate(options))
  }

  async #regenerate(options: unknown): Promise<void> {
    await renew(this.#work, checkRenewal(options))
  }

  // ---- user ----

  /** The user whom the session belongs to, or `null` before login. */
  get principal(): string | null {
    return this.#work.readable?.principal ?? null
  }

  /**
   * When that user logged in to this session, or `null` if it is nobody's. Setting the same
   * principal again is no login.
   */
  get authenticatedAt(): Date | null {
    return this.principal === null ? null : this.createdAt
  }

  /**
   * Says whose session this is, at login, or with `null` that it is nobody's. It is then in
   * `fastify.sessions.list(principal)`, and `absoluteTimeout` begins anew.
   *
   * What one user leaves is not the next one's: unless `keep` says otherwise, data and metadata
   * are dropped when a principal is followed by another, or by nobody, and so is an expiry that
   * this request has not set.
   *
   * ```ts
   * await session.setPrincipal(user.id, { metadata: { agent: request.headers['user-agent'] } })
   * ```
   *
   * @throws {InvalidPrincipalError} `SLED_SESSION_INVALID_PRINCIPAL` unless it is a string of 1 to
   *   1,024 bytes
   * @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` for a wrong or unknown option
   * @throws {StoreUnavailableError} `SLED_SESSION_STORE_UNAVAILABLE`
   */
  setPrincipal(principal: string | null, options?: SetPrincipalOptions): Promise<void>
  setPrincipal(
    principal: string | null,
    options: SetPrincipalOptions = {},
    ...more: unknown[]
  ): Promise<void> {
    refuseCallback('setPrincipal', [options, ...more])
    return attend(this.#work, this.#setPrincipal(principal, options))
  }

  async #setPrincipal(principal: string | null, options: SetPrincipalOptions): Promise<void> {
    const change = checkHolderChange(principal, options)
    await setPrincipal(this.#work, change, options.renew !== false)
  }

  /**
   * What a list of the user's sessions shows of this one, such as the user agent: any value.
   *
   * ```ts
   * session.metadata = { agent: request.headers['user-agent'] }
   * ```
   */
  get metadata(): unknown {
    const metadata = this.#work.readable?.metadata ?? null
    return metadata === null ? undefined : decodeValue(metadata)
  }

  set metadata(value: unknown) {
    setMetadata(this.#work, encodeMetadata(value))
  }

  // ---- expiry ----

  /**
   * This session's expiry; setting it moves its deadline and sends the cookie anew.
   *
   * ```ts
   * if (request.body.remember) session.expiry = onInactivity({ days: 30 })
   * ```
   *
   * @throws {InvalidExpiryError} `SLED_SESSION_INVALID_EXPIRY` unless it was made by one of the
   *   functions for it
   */
  get expiry(): Expiry {
    return this.#work.expiry
  }

  set expiry(expiry: Expiry) {
    setExpiry(this.#work, expiry)
  }

  /** When the session expires if nothing more happens, or `null` before it exists. */
  get expiresAt(): Date | null {
    return dateOf(this.#work.begun?.expiresAt)
  }

  /** Milliseconds until then; 0 before the session exists. */
  get expiresIn(): number {
    const { begun, registration } = this.#work
    return begun === null ? 0 : Math.max(0, begun.expiresAt - registration.now())
  }

  /**
   * Counts as activity: moves the deadline, and stores it with the response.
   *
   * ```ts
   * socket.on('message', () => session.touch())
   * ```
   */
  touch(): void {
    this.#work.touch()
  }
}

function dateOf(time: number | undefined): Date | null {
  return time === undefined ? null : new Date(time)
}

Object.setPrototypeOf(Session.prototype, NO_PROPERTIES)
refuseAssignments(Session.prototype, {
  id: 'is changed by session.regenerate()',
  principal: 'is set by session.setPrincipal()',
  authenticatedAt: 'is set by session.setPrincipal()',
  expiresAt: 'is set by session.expiry = atDateTime(date)',
  expiresIn: 'is set by session.expiry = onInactivity(duration)'
})
