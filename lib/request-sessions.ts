import type {
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  HookHandlerDoneFunction
} from 'fastify'
import { setCookieHeader } from './cookie/attributes.js'
import type { DecodedCookie } from './cookie/form.js'
import { findCookie } from './cookie/header.js'
import { SessionNotLoadedError, storeFailure } from './errors.js'
import { announce, announceFailure, events } from './events.js'
import type { CheckedOptions } from './options.js'
import type { SessionRecord } from './record/record.js'
import { explainMiss, explainUnread, isWatched } from './rejection.js'
import type { SessionPolicy } from './session/policy.js'
import { Session } from './session/session.js'
import { UnitOfWork } from './session/unit-of-work.js'
import type { CookieAction } from './session/working-record.js'

/** The sessions of the requests under one registration: load, save, cookie. */
export class RequestSessions {
  readonly #options: CheckedOptions
  readonly #policy: SessionPolicy
  // Where a request keeps them; symbols of this registration, so that several do not mix.
  readonly #workSlot: symbol
  readonly #sessionSlot: symbol
  readonly #replySlot: symbol
  #warnedOfPlainHttp = false

  constructor(options: CheckedOptions, policy: SessionPolicy) {
    this.#options = options
    this.#policy = policy
    this.#workSlot = Symbol(`fastify-sled-session.${options.sessionName}.work`)
    this.#sessionSlot = Symbol(`fastify-sled-session.${options.sessionName}`)
    this.#replySlot = Symbol(`fastify-sled-session.${options.sessionName}.reply`)
  }

  install(fastify: FastifyInstance): void {
    const sessions = this
    fastify.decorateRequest(this.#workSlot, null)
    fastify.decorateRequest(this.#sessionSlot, null)
    fastify.decorateRequest(this.#replySlot, null)
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

  /** The work on the session that the request came with or has begun. */
  get(request: FastifyRequest): UnitOfWork | null {
    const work = slotsOf(request)[this.#workSlot]
    return work instanceof UnitOfWork ? work : null
  }

  /**
   * Gives the request a new, empty session; it is stored when something is set.
   *
   * @throws {SessionNotLoadedError} before the plugin's own hook has run
   */
  begin(request: FastifyRequest): UnitOfWork {
    const slots = slotsOf(request)
    const reply = slots[this.#replySlot] as FastifyReply | null
    if (reply === null) throw new SessionNotLoadedError(this.#options.sessionName)
    this.get(request)?.end()
    if (reply.raw.headersSent) slots[this.#workSlot] = RESPONSE_LEFT
    else this.#endWith(request, reply)
    return this.#attach(request, null, null, 'none')
  }

  #attach(
    request: FastifyRequest,
    record: SessionRecord | null,
    id: string | null,
    cookie: CookieAction
  ): UnitOfWork {
    const work = new UnitOfWork(this.#policy, record, id, cookie)
    if (isSkipped(request)) work.seal()
    const slots = slotsOf(request)
    if (slots[this.#workSlot] === RESPONSE_LEFT) work.end()
    slots[this.#workSlot] = work
    slots[this.#sessionSlot] = null
    return work
  }

  /** On `close`, which comes after every response and, unlike onResponse, also without one. */
  #endWith(request: FastifyRequest, reply: FastifyReply): void {
    reply.raw.on('close', () => {
      const work = this.get(request)
      if (work !== null) work.end()
      else slotsOf(request)[this.#workSlot] = RESPONSE_LEFT
    })
  }

  #sessionOf(request: FastifyRequest): Session {
    const slots = slotsOf(request)
    slots[this.#sessionSlot] ??= new Session(this.get(request) ?? this.begin(request))
    return slots[this.#sessionSlot] as Session
  }

  /** A record in memory is found without leaving the tick. */
  #load(request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void {
    slotsOf(request)[this.#replySlot] = reply
    const decoded = this.#readCookie(request)
    if (decoded === null || isSkipped(request)) {
      done()
      return
    }
    // Before the store is asked: the visitor may be gone when it answers.
    this.#endWith(request, reply)
    const { id, stale } = decoded
    const loaded = (record: SessionRecord | null): void => {
      if (record !== null) {
        announce(events.loaded, this.#options.sessionName, record.handle)
        // A cookie under an old key is replaced by one under the current key.
        this.#attach(request, record, id, stale ? 'set' : 'none')
      } else if (isWatched(request)) {
        explainMiss(request, this.#policy, id).then(() => done())
        return
      }
      done()
    }
    const failed = (cause: unknown): void => {
      const error = storeFailure(LOAD, cause)
      done(announceFailure(this.#options.sessionName, LOAD, error))
    }
    let loading: SessionRecord | null | Promise<SessionRecord | null>
    try {
      loading = this.#policy.store.load(id)
    } catch (error) {
      failed(error)
      return
    }
    if (loading instanceof Promise) loading.then(loaded, failed)
    else loaded(loading)
  }

  #readCookie(request: FastifyRequest): DecodedCookie | null {
    const header = request.raw.headers.cookie
    if (header === undefined) return null
    const { name, form } = this.#options.cookie
    const value = findCookie(header, name)
    const decoded = value === null ? null : form.decode(value)
    if (decoded === null && isWatched(request)) {
      explainUnread(request, this.#policy, this.#options.cookie, value)
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
    const work = this.get(request) ?? this.#beginUnasked(request)
    if (work === null) {
      done()
      return
    }
    const saved = (): void => {
      this.#sendCookie(work, request, reply)
      done()
    }
    let saving: Promise<void> | undefined
    try {
      saving = work.commit()
    } catch (error) {
      fail(error as Error, payload, done)
      return
    }
    if (saving === undefined) saved()
    else {
      saving.then(saved, (error: Error) => {
        // An error page promises nothing, and may be the application's own for this very error.
        if (reply.statusCode >= 500) done()
        else fail(error, payload, done)
      })
    }
  }

  #beginUnasked(request: FastifyRequest): UnitOfWork | null {
    if (!this.#options.saveUninitialized || isSkipped(request)) return null
    const work = this.begin(request)
    work.own()
    work.markDirty()
    return work
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
    if (this.#options.noStore && !reply.hasHeader('cache-control')) {
      reply.header('cache-control', 'no-store')
    }
  }

  #warnOfPlainHttp(request: FastifyRequest): void {
    if (this.#warnedOfPlainHttp || request.protocol === 'https') return
    this.#warnedOfPlainHttp = true
    this.#policy.log.warn(
      { cookie: this.#options.cookie.name },
      'a Secure session cookie was sent over plain http, and browsers will not send it back except to localhost. Serve https; behind a proxy that ends TLS set Fastify\'s trustProxy; for development set secure: "auto"'
    )
  }
}

/** In ms, or `null` for a cookie that ends with the browser's session. */
function maxAge({ expiry, record, policy }: UnitOfWork): number | null {
  if (expiry.kind === 'session-end' || record === null) return null
  return Math.max(0, record.expiresAt - policy.now())
}

const LOAD = 'load a session'

/** In the place of a unit of work: the response left without one, so none that begins is sent. */
const RESPONSE_LEFT = Symbol('response left')

function slotsOf(request: FastifyRequest): Record<symbol, unknown> {
  return request as unknown as Record<symbol, unknown>
}

/** Whether the route has opted out with `config: { session: false }`. */
function isSkipped(request: FastifyRequest): boolean {
  return request.routeOptions.config.session === false
}

/** Answers with the error in place of the payload, which must not stay open behind it. */
function fail(error: Error, payload: unknown, done: HookHandlerDoneFunction): void {
  const stream = payload as { destroy?: () => void; cancel?: () => Promise<void> } | null
  if (typeof stream?.destroy === 'function') stream.destroy()
  else if (typeof stream?.cancel === 'function') stream.cancel().catch(() => {})
  done(error)
}
