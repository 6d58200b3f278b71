import type {
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  HookHandlerDoneFunction
} from 'fastify'
import {
  OutsideCookiePathError,
  RouteWithoutSessionError,
  SessionNotLoadedError
} from '../errors.js'
import { whatIsDue } from '../session/activity.js'
import { refuseSession } from '../session/habits.js'
import type { Registration } from '../session/registration.js'
import { takeBack } from '../session/reload.js'
import { commit, mayHaveToCommit } from '../session/response.js'
import { Session } from '../session/session.js'
import type { Turns } from '../session/turnstile.js'
import { UnitOfWork } from '../session/unit-of-work.js'
import { varyByCookie } from './cookie/caching.js'
import { isWithin } from './cookie/scope.js'
import { sendCookie } from './cookie/session-cookie.js'
import type { CheckedOptions } from './options.js'
import { type CloseListener, whenClosed } from './response-closed.js'
import { isSkipped } from './route-config.js'
import { type Ended, installSentReplies, sendAfter } from './sent-reply.js'
import { SessionLoader } from './session-loader.js'
import { Visit } from './visit.js'

/** The sessions of the requests under one registration: load, save, cookie. */
export class RequestSessions {
  readonly #options: CheckedOptions
  readonly #registration: Registration
  // Where request and response keep their visit; a symbol of this registration, so that several do
  // not mix.
  readonly #slot: symbol
  readonly #onClose: CloseListener
  readonly #loader: SessionLoader

  constructor(options: CheckedOptions, registration: Registration) {
    this.#options = options
    this.#registration = registration
    this.#loader = new SessionLoader(registration, options.cookie, (visit) => this.#listen(visit))
    const slot = Symbol(`fastify-sled-session.${options.sessionName}`)
    this.#slot = slot
    const closed = (visit: Visit): void => this.#closed(visit)
    this.#onClose = function () {
      closed((this as unknown as Record<symbol, Visit>)[slot] as Visit)
    }
  }

  install(fastify: FastifyInstance): void {
    const sessions = this
    installSentReplies(fastify)
    fastify.decorateRequest(this.#slot, null)
    fastify.decorateRequest(this.#options.sessionName, {
      getter(this: FastifyRequest): Session {
        return sessions.#sessionOf(this)
      },
      setter: () => refuseSession(this.#options.sessionName)
    })
    fastify.addHook('onRequest', (request, reply, done) => this.#load(request, reply, done))
    fastify.addHook('onSend', (request, reply, payload, done) =>
      this.#save(request, reply, payload, done)
    )
  }

  /** Where requests for exclusive routes queue. */
  get turns(): Turns {
    return this.#registration.turns
  }

  /** The work on the session that the request came with or has begun. */
  get(request: FastifyRequest): UnitOfWork | null {
    const visit = this.#visitOf(request)
    return visit === null ? null : this.#workOf(request, visit)
  }

  /**
   * Gives the request a new, empty session; it is stored when something is set.
   *
   * @throws {SessionNotLoadedError} before the plugin's own hook has run
   */
  begin(request: FastifyRequest): UnitOfWork {
    const visit = this.#visitOf(request)
    if (visit === null) throw new SessionNotLoadedError(this.#options.sessionName)
    this.#workOf(request, visit)?.close()
    if (visit.reply.raw.headersSent) visit.closed = true
    else this.#listen(visit)
    const work = new UnitOfWork(this.#registration, null, null, 'none')
    this.#refuseNew(request, work)
    if (visit.closed) work.close()
    visit.work = work
    visit.session = null
    return work
  }

  #visitOf(request: FastifyRequest): Visit | null {
    return (request as unknown as Record<symbol, Visit | null>)[this.#slot] ?? null
  }

  #workOf(request: FastifyRequest, visit: Visit): UnitOfWork | null {
    const { record, id, stale } = visit
    if (visit.work !== null || record === null) return visit.work
    visit.record = null
    // A cookie under an old key is replaced by one under the current key.
    const work = new UnitOfWork(this.#registration, record, id, stale ? 'set' : 'none')
    this.#refuseNew(request, work)
    if (visit.closed) work.close()
    visit.work = work
    return work
  }

  /** Where no session may begin. */
  #refuseNew(request: FastifyRequest, work: UnitOfWork): void {
    if (isSkipped(request)) work.refuseNew(() => new RouteWithoutSessionError())
    else if (this.#isOutside(request)) {
      work.refuseNew(() => new OutsideCookiePathError(this.#options.cookie.path))
    }
  }

  #isOutside(request: FastifyRequest): boolean {
    const { path } = this.#options.cookie
    return path !== '/' && !isWithin(path, request.originalUrl)
  }

  #sessionOf(request: FastifyRequest): Session {
    const visit = this.#visitOf(request)
    if (visit?.session) return visit.session
    const session = new Session(this.get(request) ?? this.begin(request))
    ;(this.#visitOf(request) as Visit).session = session
    return session
  }

  /** On `close`, which comes after every response and, unlike onResponse, also without one. */
  #listen(visit: Visit): void {
    if (visit.listened) return
    visit.listened = true
    const { reply } = visit
    ;(reply.raw as unknown as Record<symbol, Visit>)[this.#slot] = visit
    whenClosed(reply.request, reply, this.#onClose)
  }

  #closed(visit: Visit): void {
    if (visit.closed) return
    visit.closed = true
    const { record, work } = visit
    if (work !== null) work.close()
    // A response that was hijacked or cut off has not planned it.
    else if (record !== null && whatIsDue('close', record, this.#registration).touch) {
      this.#registration.touches.plan(record)
    }
  }

  #load(request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void {
    const visit = new Visit(reply)
    ;(request as unknown as Record<symbol, Visit>)[this.#slot] = visit
    this.#loader.load(request, visit, done)
  }

  /** The response waits here until everything that it may have promised is durable. */
  #save(
    request: FastifyRequest,
    reply: FastifyReply,
    payload: unknown,
    done: HookHandlerDoneFunction
  ): void {
    const visit = this.#visitOf(request)
    // Without one, a hook before ours has answered, and no session has come into it.
    if (visit === null || visit.failed || this.#hasNothingToSay(visit)) {
      done()
      return
    }
    const unasked = visit.work === null
    const isDropped = reply.statusCode >= 500 && !this.#options.saveOnError
    const work = isDropped ? this.get(request) : this.#workToSave(request)
    if (work === null) {
      done()
      return
    }
    if (this.#options.vary && !(unasked && work.stored)) varyByCookie(reply)
    // Most requests only read, and need nothing to call back.
    if (!mayHaveToCommit(work)) {
      sendCookie(work, request, reply, this.#options)
      done()
      return
    }
    const store = (ended: Ended): void => {
      if (isDropped) takeBack(work).then(() => commit(work, ended), ended)
      else commit(work, ended)
    }
    sendAfter(store, reply, payload, done, (error) => {
      if (error === null) sendCookie(work, request, reply, this.#options)
      else visit.failed = true
    })
  }

  /** Nobody has asked for the session, and its visitor's browser must not hear of the visit. */
  #hasNothingToSay({ work, record, stale }: Visit): boolean {
    if (work !== null) return false
    if (record === null) return !this.#options.saveUninitialized
    const due = whatIsDue('response', record, this.#registration)
    if (stale || due.cookie || this.#options.alwaysSave) return false
    if (due.touch) this.#registration.touches.plan(record)
    return true
  }

  #workToSave(request: FastifyRequest): UnitOfWork | null {
    const work = this.get(request)
    if (!this.#options.saveUninitialized || isSkipped(request)) return work
    if (this.#isOutside(request)) return work
    if (work !== null && (work.begun !== null || work.isOver)) return work
    const begun = work ?? this.begin(request)
    begun.beginEmpty()
    return begun
  }
}
