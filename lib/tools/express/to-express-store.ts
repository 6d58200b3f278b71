import {
  clock,
  duration,
  interval,
  type Option,
  option,
  optional,
  readOptions,
  refuse
} from '../../record/option.js'
import { GuardedStore } from '../../store/guarded-store.js'
import type { SessionStore } from '../../store/session-store.js'
import { sessionStore } from '../../store/store-options.js'
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

const OPTIONS = {
  Store: optional(storeClass, undefined),
  sessionEndLimit: option(duration(), { days: 14 }),
  reapInterval: option(interval, { seconds: 60 }),
  now: option(clock, Date.now)
} satisfies Record<keyof ExpressStoreOptions, Option<unknown>>

function storeClass(value: unknown, name: string): ExpressStoreClass {
  const Store = value as ExpressStoreClass
  if (typeof Store !== 'function' || typeof Store.prototype?.on !== 'function') {
    refuse(name, 'must be `session.Store` of your express-session')
  }
  return Store
}

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
  const guarded = GuardedStore.of(sessionStore(store, 'store'))
  const { Store, sessionEndLimit, reapInterval, now } = readOptions(OPTIONS, options)
  return createExpressStore(guarded, {
    Store: Store ?? installedStoreClass(),
    sessionEndLimit,
    reapInterval: reapInterval ?? false,
    now
  })
}
