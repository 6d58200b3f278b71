import { inspect } from 'node:util'
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
import { announce, events } from '../events.js'
import type { SessionRecord } from '../record/record.js'
import { cookieLifetime, noteActivity, whatIsDue } from '../session/activity.js'
import type { Registration } from '../session/registration.js'
import { Session } from '../session/session.js'
import type { Turns } from '../session/turnstile.js'
import { UnitOfWork } from '../session/unit-of-work.js'
import { setCookieHeader } from './cookie/attributes.js'
import { keepFromSharedCaches, varyByCookie } from './cookie/caching.js'
import type { DecodedCookie } from './cookie/form.js'
import { findCookie } from './cookie/header.js'
import { isWithin } from './cookie/scope.js'
import { decodeCookies, findLive } from './cookie/several.js'
import type { CheckedOptions } from './options.js'
import { explainAmbiguous, explainMiss, explainUnread, isWatched } from './rejected-cookie.js'
import { type CloseListener, whenClosed } from './response-closed.js'
import { checkThatItQueues, isSkipped } from './route-config.js'
import { type Ended, goOn, installSentReplies, sendAfter } from './sent-reply.js'

/**
 * What one request has of its session. Most requests of a busy site only show that their visitor
 * is still there, so no more than this is made before somebody asks for the session.
 */
class Visit {
  readonly reply: FastifyReply
  /** Found in the store and held for this request, but not yet asked for. */
  record: SessionRecord | null = null
  id: string | null = null
  /** Whether the cookie was written under an old key. */
  stale = false
  work: UnitOfWork | null = null
  session: Session | null = null
  /** Somebody listens to the end of the response. */
  watched = false
  /** The response has left, or its visitor has. */
  left = false
  /** What the response promised could not be stored; the error page in its place promises nothing. */
  failed = false

  constructor(reply: FastifyReply) {
    this.reply = reply
  }

  /** A request that is printed shows it, and with it would show the id. */
  [inspect.custom](): string {
    return 'Visit'
  }
}

/** The sessions of the requests under one registration: load, save, cookie. */
export class RequestSessions {
  readonly #options: CheckedOptions
  readonly #policy: Registration
  // Where request and response keep their visit; a symbol of this registration, so that several do
  // not mix.
  readonly #slot: symbol
  readonly #onClose: CloseListener
  readonly #warned = new Set<string>()

  constructor(options: CheckedOptions, policy: Registration) {
    this.#options = options
    this.#policy = policy
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
      }
    })
    fastify.addHook('onRequest', (request, reply, done) => this.#load(request, reply, done))
    fastify.addHook('onSend', (request, reply, payload, done) =>
      this.#save(request, reply, payload, done)
    )
  }

  /** Where requests for exclusive routes queue. */
  get turns(): Turns {
    return this.#policy.turns
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
    this.#workOf(request, visit)?.end()
    if (visit.reply.raw.headersSent) visit.left = true
    else this.#watch(visit)
    const work = new UnitOfWork(this.#policy, null, null, 'none')
    this.#seal(request, work)
    if (visit.left) work.end()
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
    const work = new UnitOfWork(this.#policy, record, id, stale ? 'set' : 'none')
    this.#seal(request, work)
    if (visit.left) work.detach()
    visit.work = work
    return work
  }

  /** Where no session may begin. */
  #seal(request: FastifyRequest, work: UnitOfWork): void {
    if (isSkipped(request)) work.seal(() => new RouteWithoutSessionError())
    else if (this.#isOutside(request)) {
      work.seal(() => new OutsideCookiePathError(this.#options.cookie.path))
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
  #watch(visit: Visit): void {
    if (visit.watched) return
    visit.watched = true
    const { reply } = visit
    ;(reply.raw as unknown as Record<symbol, Visit>)[this.#slot] = visit
    whenClosed(reply.request, reply, this.#onClose)
  }

  #closed(visit: Visit): void {
    if (visit.left) return
    // A response that was hijacked or cut off has stored no touch.
    const behind = visit.record !== null && whatIsDue('close', visit.record, this.#policy).touch
    const work = behind ? this.#workOf(visit.reply.request, visit) : visit.work
    visit.left = true
    work?.end()
  }

  /** A record in memory is found without leaving the tick. */
  #load(request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void {
    const visit = new Visit(reply)
    ;(request as unknown as Record<symbol, Visit>)[this.#slot] = visit
    const decoded = this.#readCookie(request)
    if (decoded === null || isSkipped(request)) {
      done()
      return
    }
    const mistake = checkThatItQueues(request)
    if (mistake !== null) {
      done(mistake)
      return
    }
    // Before the store is asked: the visitor may be gone when it answers.
    this.#watch(visit)
    if (Array.isArray(decoded)) {
      this.#loadOneOf(request, visit, decoded, (error) => goOn(reply, done, error))
      return
    }
    const { id } = decoded
    const loading = this.#policy.store.load(id)
    if (loading instanceof Promise) {
      loading.then(
        (record) =>
          this.#loaded(request, visit, decoded, record, (error) => goOn(reply, done, error)),
        (error: Error) => goOn(reply, done, error)
      )
    } else {
      this.#loaded(request, visit, decoded, loading, done)
    }
  }

  #loaded(
    request: FastifyRequest,
    visit: Visit,
    { id, stale }: DecodedCookie,
    record: SessionRecord | null,
    done: HookHandlerDoneFunction
  ): void {
    if (record !== null) {
      visit.record = record
      visit.id = id
      visit.stale = stale
      if (this.#policy.rolling) noteActivity(record, this.#policy)
      announce(events.loaded, this.#options.sessionName, record.handle)
    } else if (isWatched(request)) {
      explainMiss(request, this.#policy, id).then(() => goOn(visit.reply, done))
      return
    }
    done()
  }

  /** Of several cookies, at most one is a live session, unless somebody plants them. */
  #loadOneOf(
    request: FastifyRequest,
    visit: Visit,
    candidates: readonly DecodedCookie[],
    done: HookHandlerDoneFunction
  ): void {
    const { name } = this.#options.cookie
    this.#warnOnce(
      { cookie: name },
      'a request has several session cookies, as after a change of cookie.path or cookie.domain: the only one that is a live session counts. Give the cookie a new name together with such a change'
    )
    findLive(this.#policy.store, candidates).then(
      (found) => {
        if (typeof found === 'object') {
          this.#loaded(request, visit, found.cookie, found.record, done)
          return
        }
        if (found === 'none') {
          visit.work = new UnitOfWork(this.#policy, null, null, 'clear')
          if (visit.left) visit.work.end()
        }
        // To clear one of two that are live would log the visitor in as whoever planted the other.
        else if (isWatched(request)) explainAmbiguous(request, this.#policy, this.#options.cookie)
        done()
      },
      (error: Error) => done(error)
    )
  }

  #readCookie(request: FastifyRequest): DecodedCookie | DecodedCookie[] | null {
    const header = request.raw.headers.cookie
    if (header === undefined) return null
    const { cookie } = this.#options
    const decoded = decodeCookies(header, cookie)
    if (decoded === null && isWatched(request)) {
      explainUnread(request, this.#policy, cookie, findCookie(header, cookie.name))
    }
    return decoded
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
    if (!work.mayHaveToCommit) {
      this.#sendCookie(work, request, reply)
      done()
      return
    }
    const commit = (ended: Ended): void => {
      if (isDropped) work.discard().then(() => work.commit(ended), ended)
      else work.commit(ended)
    }
    sendAfter(commit, reply, payload, done, (error) => {
      if (error === null) this.#sendCookie(work, request, reply)
      else visit.failed = true
    })
  }

  /** Nobody has asked for the session, and neither disk nor browser must hear of the visit. */
  #hasNothingToSay({ work, record, stale }: Visit): boolean {
    if (work !== null) return false
    if (record === null) return !this.#options.saveUninitialized
    const due = whatIsDue('response', record, this.#policy)
    return !stale && !due.touch && !due.cookie
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

  #sendCookie(work: UnitOfWork, request: FastifyRequest, reply: FastifyReply): void {
    const action = work.takeCookieAction()
    if (action === 'none') return
    const attributes = this.#options.cookie
    const secure = attributes.secure === 'auto' ? request.protocol === 'https' : attributes.secure
    if (secure) this.#warnOfPlainHttp(request)
    const header =
      action === 'clear'
        ? setCookieHeader(attributes, '', 0, secure)
        : setCookieHeader(
            attributes,
            attributes.form.encode(work.id as string),
            maxAge(work),
            secure
          )
    reply.header('set-cookie', header)
    if (!this.#options.noStore) return
    keepFromSharedCaches(reply, (directives) =>
      this.#warnOnce(
        { cacheControl: directives, route: request.routeOptions.url },
        'a hook set Cache-Control after the session cookie, and a shared cache might have served that cookie to others: the response left with no-store. Set it in the handler, or leave it'
      )
    )
  }

  #warnOfPlainHttp(request: FastifyRequest): void {
    if (request.protocol === 'https') return
    this.#warnOnce(
      { cookie: this.#options.cookie.name },
      'a Secure session cookie was sent over plain http, and browsers will not send it back except to localhost. Serve https; behind a proxy that ends TLS set Fastify\'s trustProxy; for development set secure: "auto"'
    )
  }

  #warnOnce(details: object, message: string): void {
    if (this.#warned.has(message)) return
    this.#warned.add(message)
    this.#policy.log.warn(details, message)
  }
}

/** In ms, or `null` for a cookie that ends with the browser's session. */
function maxAge({ record, policy }: UnitOfWork): number | null {
  return record === null ? null : cookieLifetime(record, policy)
}
