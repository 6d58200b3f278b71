import type { SessionStore } from '../../store/session-store.js'
import { ExpressStore, type ExpressStoreOptions } from './express-store.js'

/**
 * Makes an open store one for express-session or @fastify/session.
 *
 * ```ts
 * const store = toExpressStore(await openSessionStore('./storage'))
 * app.use(session({ secret, store, resave: false, saveUninitialized: false }))
 * ```
 *
 * Sessions are written whole, as those packages do it: of two requests that change one session at
 * the same time, the last one wins. Close it when the server has stopped.
 *
 * @param store opened, and used by nothing else
 */
export function toExpressStore(
  store: SessionStore,
  options: ExpressStoreOptions = {}
): ExpressStore {
  return new ExpressStore(store, options)
}
