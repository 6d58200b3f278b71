import { EventEmitter } from 'node:events'
import { MAX_TIME } from '../../record/expiry.js'
import { handleOf } from '../../record/handle.js'
import type { SessionRecord } from '../../record/record.js'
import { decodeValue } from '../../record/value.js'
import { type Leave, Turnstile } from '../../session/turnstile.js'
import type { SessionStore } from '../../store/session-store.js'

/** A session as express-session and @fastify/session hand it to their stores. */
export interface ExpressSession {
  cookie: {
    expires?: Date | string | null | undefined
    originalMaxAge?: number | null | undefined
  }
}

/** What express-session expects to be called back with. */
type Callback<T> = (error?: unknown, result?: T) => void

/** A request, as far as this has to do with it. */
interface ExpressRequest {
  sessionID?: string
  session?: unknown
}

export interface ExpressStoreOptions {
  /** How long a session whose cookie has no expiry is kept, in ms. Default 14 days. */
  sessionEndLimit?: number
  /** How often expired sessions are deleted, in ms; `false` for never. Default 60,000. */
  reapInterval?: number | false
}

const DEFAULT_SESSION_END_LIMIT = 14 * 86_400_000
const DEFAULT_REAP_INTERVAL = 60_000

/**
 * Sessions of express-session and of @fastify/session in one of our stores. Their ids are hashed
 * as our own are, so none is on disk; therefore `all` gives the sessions without their ids.
 */
export class ExpressStore extends EventEmitter {
  /** Makes a request a new session; express-session puts it here. */
  generate!: (request: ExpressRequest) => void
  readonly #store: SessionStore
  readonly #sessionEndLimit: number
  readonly #reaper: NodeJS.Timeout | null
  /** They do not tell a new session from a stored one, so two writes of one must not meet. */
  readonly #writes = new Turnstile()

  /** @internal made by `toExpressStore` */
  constructor(store: SessionStore, options: ExpressStoreOptions) {
    super()
    this.#store = store
    this.#sessionEndLimit = options.sessionEndLimit ?? DEFAULT_SESSION_END_LIMIT
    const interval = options.reapInterval ?? DEFAULT_REAP_INTERVAL
    this.#reaper = interval === false ? null : setInterval(() => this.#reap(), interval).unref()
    process.nextTick(() => this.emit('connect'))
  }

  get<S = ExpressSession>(sid: string, callback: Callback<S | null>): void {
    answer(callback, this.#read(sid) as Promise<S | null>)
  }

  set(sid: string, session: ExpressSession, callback?: Callback<void>): void {
    answer(
      callback,
      this.#inTurn(sid, async (handle) => {
        await this.#write(handle, entriesOf(session), this.#expiryOf(session), true)
      })
    )
  }

  /** Moves the deadline; the data of a session that is there stays. */
  touch(sid: string, session: ExpressSession, callback?: Callback<void>): void {
    answer(
      callback,
      this.#inTurn(sid, async (handle) => {
        const cookie = entriesOf(session).filter(([key]) => key === 'cookie')
        await this.#write(handle, cookie, this.#expiryOf(session), false)
      })
    )
  }

  destroy(sid: string, callback?: Callback<void>): void {
    answer(
      callback,
      this.#inTurn(sid, (handle) => this.#end(handle))
    )
  }

  /** The sessions without their ids: those are known to their visitors alone. */
  all<S = ExpressSession>(callback: Callback<S[]>): void {
    answer(callback, this.#readAll() as Promise<S[]>)
  }

  length(callback: Callback<number>): void {
    answer(callback, this.#store.count())
  }

  clear(callback?: Callback<void>): void {
    answer(callback, this.#endAll())
  }

  regenerate(request: ExpressRequest, callback: Callback<void>): void {
    this.destroy(request.sessionID ?? '', (error) => {
      this.generate(request)
      callback(error)
    })
  }

  load<S = ExpressSession>(sid: string, callback: Callback<S>): void {
    this.get<ExpressSession>(sid, (error, session) => {
      if (error !== undefined && error !== null) callback(error)
      else if (!session) callback()
      else callback(null, this.createSession({ sessionID: sid, sessionStore: this }, session))
    })
  }

  /** Gives a request the session that was read for it, as an object of express-session. */
  createSession(
    request: ExpressRequest & { sessionStore?: unknown },
    stored: ExpressSession
  ): never {
    // Its classes are not exported in a way that needs no dependency; a new session has them.
    const sample = Object.create(request) as { session: InstanceType<SessionClass> }
    this.generate(sample)
    const { expires, originalMaxAge } = stored.cookie
    const Cookie = sample.session.cookie.constructor as CookieClass
    const cookie = new Cookie(stored.cookie)
    if (typeof expires === 'string') cookie.expires = new Date(expires)
    cookie.originalMaxAge = originalMaxAge
    const Session = sample.session.constructor as SessionClass
    request.session = new Session(request, { ...stored, cookie })
    return request.session as never
  }

  /** Ends the reaper and closes the store; express-session goes on without sessions. */
  async close(): Promise<void> {
    if (this.#reaper !== null) clearInterval(this.#reaper)
    this.emit('disconnect')
    await this.#store.close()
  }

  async #read(sid: string): Promise<ExpressSession | null> {
    const record = await this.#store.loadByHandle(handleOf(sid))
    if (record === null) return null
    this.#store.release(record)
    return toSession(record)
  }

  async #readAll(): Promise<ExpressSession[]> {
    const sessions: ExpressSession[] = []
    for await (const record of this.#store.records()) sessions.push(toSession(record))
    return sessions
  }

  async #endAll(): Promise<void> {
    for await (const { handle } of this.#store.records()) await this.#end(handle)
  }

  /** With `whole`, `entries` are all that the session has; without, a session that is not there stays so. */
  async #write(
    handle: string,
    entries: [string, string][],
    expiresAt: number,
    whole: boolean
  ): Promise<void> {
    const now = Date.now()
    const found = await this.#store.loadByHandle(handle)
    if (found === null && !whole) return
    const record = found ?? this.#store.create(handle, now, now, expiresAt)
    const changes = new Map<string, string | undefined>(entries)
    if (whole)
      for (const key of record.data.keys()) if (!changes.has(key)) changes.set(key, undefined)
    for (const [key, text] of changes) {
      if (record.data.get(key) === text) changes.delete(key)
      else record.apply(key, text)
    }
    record.lastSeenAt = now
    record.expiresAt = expiresAt
    record.expiry = { kind: 'date-time', at: expiresAt }
    await this.#store.save(record, changes)
    this.#store.release(record)
  }

  async #end(handle: string): Promise<void> {
    const record = await this.#store.loadByHandle(handle)
    if (record === null) return
    try {
      await this.#store.destroy(record)
    } finally {
      this.#store.release(record)
    }
  }

  async #inTurn(sid: string, work: (handle: string) => Promise<void>): Promise<void> {
    const handle = handleOf(sid)
    const leave = (await this.#writes.enter(handle)) as Leave
    try {
      await work(handle)
    } finally {
      leave()
    }
  }

  #expiryOf({ cookie }: ExpressSession): number {
    const expires = cookie?.expires
    const at = expires === undefined || expires === null ? Number.NaN : Number(new Date(expires))
    return Number.isNaN(at) ? Date.now() + this.#sessionEndLimit : Math.min(at, MAX_TIME)
  }

  #reap(): void {
    this.#store.deleteExpired().catch((error: unknown) => {
      // The next run tries again; without a listener, Node would end the process.
      if (this.listenerCount('error') > 0) this.emit('error', error)
    })
  }
}

type SessionClass = new (request: object, data: object) => { cookie: object }
type CookieClass = new (options: object) => ExpressSession['cookie']

/** As JSON has it: express-session promises no more, and its stores give no more. */
function entriesOf(session: ExpressSession): [string, string][] {
  const plain = JSON.parse(JSON.stringify(session)) as Record<string, unknown>
  return Object.entries(plain).map(([key, value]) => [key, JSON.stringify(value)])
}

function toSession(record: SessionRecord): ExpressSession {
  const entries = [...record.data].map(([key, text]) => [key, decodeValue(text)])
  return Object.fromEntries(entries) as ExpressSession
}

/** Calls back in a turn of its own, so that what the callback throws is not ours to catch. */
function answer<T>(callback: Callback<T> | undefined, work: Promise<T>): void {
  work.then(
    (result) => {
      if (callback !== undefined) process.nextTick(callback, null, result)
    },
    (error: unknown) => {
      if (callback !== undefined) process.nextTick(callback, error)
    }
  )
}
