import { InvalidOptionError } from '../../errors.js'
import type { SessionStore } from '../../store/session-store.js'
import {
  createExpressStore,
  type ExpressStore,
  type ExpressStoreClass,
  installedStoreClass
} from './express-store.js'

export interface ExpressStoreOptions {
  /**
   * The class to inherit from: `session.Store` of your express-session, which makes sessions and
   * cookies of what is stored. Default that of the express-session installed beside this package;
   * @fastify/session needs none.
   */
  Store?: ExpressStoreClass
  /** How long a session whose cookie has no expiry is kept, in ms. Default 14 days. */
  sessionEndLimit?: number
  /** How often expired sessions are deleted, in ms; `false` for never. Default 60,000. */
  reapInterval?: number | false
  /** The clock, in ms since 1970. Default the system's. */
  now?: () => number
}

const DEFAULT_SESSION_END_LIMIT = 14 * 86_400_000
const DEFAULT_REAP_INTERVAL = 60_000
const LONGEST_TIMER = 2 ** 31 - 1

/**
 * Makes an open store one for express-session or @fastify/session.
 *
 * ```ts
 * const store = toExpressStore(await openSessionStore('./storage'), { Store: session.Store })
 * app.use(session({ secret, store, resave: false, saveUninitialized: false }))
 * ```
 *
 * Sessions are written whole, as those packages do it: of two requests that change one session at
 * the same time, the last one wins. Close it when the server has stopped.
 *
 * @param store opened, and used by nothing else
 * @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION`; if express-session is given a store
 *   without its class, when it is
 */
export function toExpressStore(
  store: SessionStore,
  options: ExpressStoreOptions = {}
): ExpressStore {
  const {
    Store = installedStoreClass(),
    sessionEndLimit = DEFAULT_SESSION_END_LIMIT,
    reapInterval = DEFAULT_REAP_INTERVAL,
    now = Date.now
  } = options
  if (typeof store?.loadByHandle !== 'function') {
    throw new InvalidOptionError('store', 'must be an open store, as of openSessionStore()')
  }
  if (typeof Store !== 'function' || typeof Store.prototype?.on !== 'function') {
    throw new InvalidOptionError('Store', 'must be `session.Store` of your express-session')
  }
  if (!(sessionEndLimit > 0 && Number.isFinite(sessionEndLimit))) {
    throw new InvalidOptionError('sessionEndLimit', 'must be ms, more than 0')
  }
  if (reapInterval !== false && !(reapInterval > 0 && reapInterval <= LONGEST_TIMER)) {
    throw new InvalidOptionError('reapInterval', `must be ms up to ${LONGEST_TIMER}, or false`)
  }
  if (typeof now !== 'function') throw new InvalidOptionError('now', 'must be a function')
  return createExpressStore(store, { Store, sessionEndLimit, reapInterval, now })
}
