import fastifyCookie from '@fastify/cookie'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { InvalidOptionError } from '../errors.js'
import { announce, events } from '../events.js'
import { BackgroundSaves } from '../session/background-saves.js'
import { type Registration, warnsOnce } from '../session/registration.js'
import type { Session } from '../session/session.js'
import { SharedTurns } from '../session/shared-turns.js'
import { Touches } from '../session/touches.js'
import { RENEWAL_PATIENCE, type Turns, Turnstile, UPDATE_PATIENCE } from '../session/turnstile.js'
import { GuardedStore } from '../store/guarded-store.js'
import { createStore } from '../store/open-store.js'
import type { SessionStore } from '../store/session-store.js'
import { clearInterval, setInterval } from '../timers.js'
import { installExclusiveRoutes } from './exclusive-routes.js'
import { checkOptions, type SledSessionOptions } from './options.js'
import { RequestSessions } from './request-sessions.js'
import type { ExclusiveOptions } from './route-config.js'
import { SessionManager } from './session-manager.js'

async function plugin(fastify: FastifyInstance, given: SledSessionOptions): Promise<void> {
  const options = checkOptions(given)
  const { sessionName } = options
  if (fastify.hasRequestDecorator(sessionName) || fastify.hasDecorator(`${sessionName}s`)) {
    throw new InvalidOptionError('sessionName', `"${sessionName}" is taken: choose another`)
  }
  const cookieSlot = Symbol.for(`fastify-sled-session.cookie.${options.cookie.name}`)
  if (fastify.hasDecorator(cookieSlot)) {
    const problem = `"${options.cookie.name}" is taken by another registration: choose another`
    throw new InvalidOptionError('cookie.name', problem)
  }
  const opened = createStore(options.storeOptions, options.memory)
  if (storesInUse.has(opened)) {
    throw new InvalidOptionError('store', 'is in use already: give each registration its own')
  }
  storesInUse.add(opened)
  const store = new GuardedStore(opened, {
    timeout: options.storeTimeout,
    onFailure: (operation, error) => events.storeError.publish({ sessionName, operation, error })
  })
  const registration: Registration = {
    ...options,
    store,
    log: fastify.log,
    warnOnce: warnsOnce(fastify.log),
    updates: new Turnstile(UPDATE_PATIENCE),
    turns: turnsOf(store, fastify.log),
    background: new BackgroundSaves(),
    touches: new Touches({ sessionName, store, log: fastify.log, now: options.now })
  }
  try {
    await store.open({
      now: options.now,
      log: fastify.log,
      timeout: options.storeTimeout,
      maxRecordSize: options.maxRecordSize,
      onQuarantine: (handle) => announce(events.quarantined, sessionName, handle)
    })
  } catch (error) {
    storesInUse.delete(opened)
    throw error
  }

  if (!fastify.hasReplyDecorator('setCookie')) await fastify.register(fastifyCookie)
  const manager = new SessionManager(registration, options.cookie)
  fastify.decorate(`${sessionName}s`, manager)
  fastify.decorate(cookieSlot, true)
  const sessions = new RequestSessions(options, registration)
  sessions.install(fastify)
  installExclusiveRoutes(fastify, sessions)

  const stopReaper = startReaper(
    manager,
    store.expiresByItself ? null : options.reapInterval,
    fastify.log
  )
  fastify.addHook('onClose', async () => {
    stopReaper()
    await registration.background.settled()
    await registration.touches.close()
    await store.close()
    storesInUse.delete(opened)
  })
}

function turnsOf(store: GuardedStore, log: FastifyInstance['log']): Turns {
  const turns = new Turnstile(RENEWAL_PATIENCE)
  const { takeLease, releaseLease } = store
  if (takeLease === undefined || releaseLease === undefined) return turns
  return new SharedTurns(turns, { takeLease, releaseLease }, log)
}

/** A store is opened and closed with one registration, and goes by that one's clock. */
const storesInUse = new WeakSet<SessionStore>()

/** Returns how to stop it. */
function startReaper(
  manager: SessionManager,
  interval: number | null,
  log: FastifyInstance['log']
): () => void {
  if (interval === null) return () => {}
  const timer = setInterval(() => {
    manager.deleteExpired().catch((error: unknown) => {
      log.error({ err: error }, 'expired sessions could not be deleted; the next run tries again')
    })
  }, interval)
  timer.unref()
  return () => clearInterval(timer)
}

/**
 * Gives each request a `session`, kept in an embedded RocksDB.
 *
 * ```ts
 * await fastify.register(sledSession, { path: './storage' })
 * ```
 *
 * @see {@link SledSessionOptions}
 */
export const sledSession = fp(plugin, { fastify: '5.x', name: 'fastify-sled-session' })

declare module 'fastify' {
  interface FastifyRequest {
    session: Session
  }
  interface FastifyInstance {
    sessions: SessionManager
  }
  interface FastifyContextConfig {
    /**
     * `false` leaves this route without a session: none is loaded, none is saved. `exclusive`
     * lets one request at a time per session into the route.
     */
    session?: false | { exclusive?: boolean | ExclusiveOptions }
  }
}
