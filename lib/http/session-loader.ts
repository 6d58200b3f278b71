import type { FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { announce, events } from '../events.js'
import type { SessionRecord } from '../record/record.js'
import { noteActivity } from '../session/activity.js'
import type { Registration } from '../session/registration.js'
import { UnitOfWork } from '../session/unit-of-work.js'
import type { CookieAttributes } from './cookie/attributes.js'
import type { DecodedCookie } from './cookie/form.js'
import { findCookie } from './cookie/header.js'
import { decodeCookies, findLive } from './cookie/several.js'
import { explainAmbiguous, explainMiss, explainUnread, isExplained } from './rejected-cookie.js'
import { checkThatItQueues, isSkipped } from './route-config.js'
import { goOn } from './sent-reply.js'
import type { Visit } from './visit.js'

/** Finds the session that a request's cookie names. */
export class SessionLoader {
  readonly #registration: Registration
  readonly #cookie: CookieAttributes
  readonly #listen: (visit: Visit) => void

  constructor(
    registration: Registration,
    cookie: CookieAttributes,
    listen: (visit: Visit) => void
  ) {
    this.#registration = registration
    this.#cookie = cookie
    this.#listen = listen
  }

  /** A record in memory is found without leaving the tick. */
  load(request: FastifyRequest, visit: Visit, done: HookHandlerDoneFunction): void {
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
    this.#listen(visit)
    if (Array.isArray(decoded)) {
      this.#loadOneOf(request, visit, decoded, done)
      return
    }
    const loading = this.#registration.store.load(decoded.id)
    if (loading instanceof Promise) {
      const later: HookHandlerDoneFunction = (error) => goOn(visit.reply, done, error)
      loading.then((record) => this.#loaded(request, visit, decoded, record, later), later)
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
      if (this.#registration.rolling) noteActivity(record, this.#registration)
      announce(events.loaded, this.#registration.sessionName, record.handle)
    } else if (isExplained(request)) {
      explainMiss(request, this.#registration, id).then(() => goOn(visit.reply, done))
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
    this.#registration.warnOnce(
      { cookie: this.#cookie.name },
      'a request has several session cookies, as after a change of cookie.path or cookie.domain: the only one that is a live session counts. Give the cookie a new name together with such a change'
    )
    const later: HookHandlerDoneFunction = (error) => goOn(visit.reply, done, error)
    findLive(this.#registration.store, candidates).then((found) => {
      if (typeof found === 'object') {
        this.#loaded(request, visit, found.cookie, found.record, later)
        return
      }
      if (found === 'none') {
        visit.work = new UnitOfWork(this.#registration, null, null, 'clear')
        if (visit.closed) visit.work.close()
      }
      // To clear one of two that are live would log the visitor in as whoever planted the other.
      else if (isExplained(request)) explainAmbiguous(request, this.#registration, this.#cookie)
      later()
    }, later)
  }

  #readCookie(request: FastifyRequest): DecodedCookie | DecodedCookie[] | null {
    const header = request.raw.headers.cookie
    if (header === undefined) return null
    const decoded = decodeCookies(header, this.#cookie)
    if (decoded === null && isExplained(request)) {
      explainUnread(
        request,
        this.#registration,
        this.#cookie,
        findCookie(header, this.#cookie.name)
      )
    }
    return decoded
  }
}
