import { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import { InvalidOptionError } from '../../errors.js'
import type { SessionStore } from '../../store/session-store.js'
import { type ExpressSession, ExpressSessions } from './express-sessions.js'

/** The callback of express-session's stores. */
export type ExpressCallback<T> = (error?: unknown, result?: T) => void

/** The parts of a request that express-session's stores use. */
export interface ExpressRequest {
  sessionID?: string
  session?: unknown
  sessionStore?: unknown
}

/** `session.Store` of express-session, whose types need not be installed. */
export type ExpressStoreClass = abstract new () => EventEmitter

/**
 * Sessions of express-session and of @fastify/session in one of our stores. Their ids are hashed
 * as our own are, so none is on disk; therefore `all` gives the sessions without their ids.
 *
 * Without a callback, methods return a promise.
 */
export interface ExpressStore extends EventEmitter {
  get<S = ExpressSession>(sid: string, callback: ExpressCallback<S | null>): void
  get<S = ExpressSession>(sid: string): Promise<S | null>

  /**
   * Stores a session whole. One that was loaded before it was destroyed is not brought back: for a
   * minute after `destroy`, only a session that has begun since is stored under that id.
   */
  set(sid: string, session: ExpressSession, callback: ExpressCallback<void>): void
  set(sid: string, session: ExpressSession): Promise<void>

  /** Moves the deadline; the data of a session that is there stays. */
  touch(sid: string, session: ExpressSession, callback: ExpressCallback<void>): void
  touch(sid: string, session: ExpressSession): Promise<void>

  destroy(sid: string, callback: ExpressCallback<void>): void
  destroy(sid: string): Promise<void>

  /** The sessions without their ids: those are known to their visitors alone. */
  all<S = ExpressSession>(callback: ExpressCallback<S[]>): void
  all<S = ExpressSession>(): Promise<S[]>

  /** How many sessions `all` would give. Reads each. */
  length(callback: ExpressCallback<number>): void
  length(): Promise<number>

  /** The hashes of the ids, in the order of `all`; no session can be had by one. */
  ids(callback: ExpressCallback<string[]>): void
  ids(): Promise<string[]>

  clear(callback: ExpressCallback<void>): void
  clear(): Promise<void>

  // As `session.Store` of express-session has them.
  regenerate(request: ExpressRequest, callback: ExpressCallback<void>): void
  load<S = ExpressSession>(sid: string, callback: ExpressCallback<S>): void
  createSession(request: ExpressRequest, session: ExpressSession): never
  generate: (request: ExpressRequest) => void

  /** Ends the reaper and closes the store; express-session goes on without sessions. */
  close(): Promise<void>
}

/** The options of `toExpressStore`, checked and with their defaults. */
export interface CheckedExpressOptions {
  readonly Store: ExpressStoreClass
  readonly sessionEndLimit: number
  readonly reapInterval: number | false
  readonly now: () => number
}

/** Gives a store the methods that express-session calls, on top of its own class for stores. */
export function createExpressStore(
  store: SessionStore,
  { Store, sessionEndLimit, reapInterval, now }: CheckedExpressOptions
): ExpressStore {
  const sessions = new ExpressSessions(store, sessionEndLimit, now)
  const Base = Store as new () => EventEmitter

  class StoreOfSessions extends Base {
    #generate: ((request: ExpressRequest) => void) | undefined
    readonly #reaper: NodeJS.Timeout | null

    constructor() {
      super()
      this.#reaper =
        reapInterval === false || store.expiresByItself === true
          ? null
          : setInterval(() => this.#reap(), reapInterval).unref()
      let away = false
      this.once('disconnect', () => {
        away = true
      })
      process.nextTick(() => {
        if (!away) this.emit('connect')
      })
    }

    /** Makes a request a new session; express-session puts it here. */
    get generate(): ((request: ExpressRequest) => void) | undefined {
      return this.#generate
    }

    set generate(generate: (request: ExpressRequest) => void) {
      if (Store === EventEmitter) {
        throw new InvalidOptionError('Store', 'must be `session.Store` of your express-session')
      }
      this.#generate = (request) => {
        generate(request)
        sessions.ended.noteBegun(request.session as object)
      }
    }

    get(sid: string, callback?: ExpressCallback<ExpressSession | null>) {
      return answer(callback, sessions.read(sid))
    }

    set(sid: string, session: ExpressSession, callback?: ExpressCallback<void>) {
      return answer(callback, sessions.write(sid, session))
    }

    touch(sid: string, session: ExpressSession, callback?: ExpressCallback<void>) {
      return answer(callback, sessions.touch(sid, session))
    }

    destroy(sid: string, callback?: ExpressCallback<void>) {
      return answer(callback, sessions.end(sid))
    }

    all(callback?: ExpressCallback<ExpressSession[]>) {
      return answer(callback, sessions.all())
    }

    length(callback?: ExpressCallback<number>) {
      // Not by the store's count, which may include expired sessions.
      return answer(callback, sessions.count())
    }

    ids(callback?: ExpressCallback<string[]>) {
      return answer(callback, sessions.handles())
    }

    clear(callback?: ExpressCallback<void>) {
      return answer(callback, sessions.endAll())
    }

    async close(): Promise<void> {
      if (this.#reaper !== null) clearInterval(this.#reaper)
      this.emit('disconnect')
      await store.close()
    }

    #reap(): void {
      store.deleteExpired().catch((error: unknown) => {
        // The next run tries again; without a listener, Node would end the process.
        if (this.listenerCount('error') > 0) this.emit('error', error)
      })
    }
  }
  return new StoreOfSessions() as unknown as ExpressStore
}

/**
 * The class for stores of the express-session that is installed beside this package. Where there is
 * none that can be found, as in a bundle, it has to be given; @fastify/session needs none.
 */
export function installedStoreClass(): ExpressStoreClass {
  try {
    const session = createRequire(import.meta.url)('express-session') as {
      Store: ExpressStoreClass
    }
    return session.Store
  } catch {
    return EventEmitter
  }
}

/** Calls back in a later tick: an error that the callback throws must not become a rejection here. */
function answer<T>(
  callback: ExpressCallback<T> | undefined,
  work: Promise<T>
): Promise<T> | undefined {
  if (callback === undefined) {
    // Express calls without looking at what is returned: a failure must not end the process.
    work.catch(() => {})
    return work
  }
  work.then(
    (result) => process.nextTick(callback, null, result),
    (error: unknown) => process.nextTick(callback, error)
  )
  return undefined
}
