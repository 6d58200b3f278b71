import type { FastifyReply, FastifyRequest } from 'fastify'
import { SessionBusyError } from '../errors.js'
import { catchUp } from '../session/reload.js'
import { save } from '../session/saving.js'
import type { Leave } from '../session/turnstile.js'
import { clearTimeout, setTimeout } from '../timers.js'
import type { RequestSessions } from './request-sessions.js'
import { whenClosed } from './response-closed.js'
import type { Limits } from './route-config.js'
import { isHeldBack } from './sent-reply.js'

const RETRY_AFTER_SECONDS = 1

const REFUSALS = {
  full: 'too many of its requests wait for this route',
  late: 'an earlier request holds this route for too long',
  aborted: 'the client went away while it waited'
}

/**
 * One request's turn in an exclusive route. It is held until the response is over and the handler
 * has ended, which for one whose client went away are two things: what that handler is about to
 * do, such as to charge a card, must not meet what the next one does.
 */
export class Turn {
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  readonly #limits: Limits
  readonly #closed = new AbortController()
  readonly #leaves: Leave[] = []
  #sessions: readonly RequestSessions[] = []
  /** What the handler has returned, if it was called and has not ended. */
  #running: 'nothing' | 'promise' | null = null
  #answered = false
  #left = false
  #timer: NodeJS.Timeout | undefined

  constructor(request: FastifyRequest, reply: FastifyReply, limits: Limits) {
    this.#request = request
    this.#reply = reply
    this.#limits = limits
    whenClosed(request, reply, () => this.#close())
  }

  /** @throws {SessionBusyError} */
  async take(sessions: readonly RequestSessions[]): Promise<void> {
    this.#sessions = sessions
    for (const each of sessions) await this.#takeOne(each)
  }

  async #takeOne(sessions: RequestSessions): Promise<void> {
    const record = sessions.get(this.#request)?.record ?? null
    // A visitor without a session shares nothing with anybody.
    if (record === null) return
    const { signal } = this.#closed
    const leave = await sessions.turns.enter(record.handle, { ...this.#limits, signal })
    if (typeof leave === 'string') {
      this.#reply.header('retry-after', RETRY_AFTER_SECONDS)
      throw new SessionBusyError(REFUSALS[leave])
    }
    // The connection may have closed on the very tick of admission, and nobody would leave.
    if (signal.aborted) {
      leave()
      throw new SessionBusyError(REFUSALS.aborted)
    }
    this.#leaves.push(leave)
    const own = sessions.get(this.#request)
    if (own !== null) await catchUp(own)
    // Whoever had the turn before may have logged the visitor out.
    if (record.destroyed) sessions.begin(this.#request)
    const work = sessions.get(this.#request)
    if (work !== null) work.hasTurn = true
  }

  /**
   * Runs the handler.
   *
   * @throws {SessionBusyError} if the client has gone meanwhile, and the turn with it
   */
  run(handle: () => unknown): unknown {
    if (this.#closed.signal.aborted) throw new SessionBusyError(REFUSALS.aborted)
    this.#running = 'nothing'
    let result: unknown
    try {
      result = handle()
    } catch (error) {
      this.#running = null
      throw error
    }
    // The reply itself is a promise for its end: a handler that returns it calls back.
    if (result !== this.#reply && isThenable(result)) {
      this.#running = 'promise'
      const ended = (): void => void this.#end()
      result.then(ended, ended)
    }
    return result
  }

  /** The answer is on its way, and what the request has changed is stored. */
  answered(): void {
    this.#answered = true
    this.#leaveIfOver()
  }

  async #end(): Promise<void> {
    // Nobody is left to answer, so nothing else waits for what the handler has changed.
    if (this.#closed.signal.aborted) await this.#save()
    this.#running = null
    this.#leaveIfOver()
  }

  async #save(): Promise<void> {
    for (const sessions of this.#sessions) {
      try {
        const work = sessions.get(this.#request)
        if (work !== null) await save(work)
      } catch (error) {
        this.#request.log.error({ err: error }, 'a session could not be saved after its response')
      }
    }
  }

  #close(): void {
    if (this.#closed.signal.aborted) return
    this.#closed.abort()
    this.#leaveIfOver()
    if (this.#left || this.#running === 'promise') return
    // Whoever calls back may see that the client has gone, and never do.
    this.#timer = setTimeout(() => this.#leave(), this.#limits.maxWait)
    this.#timer.unref()
  }

  #leaveIfOver(): void {
    if (!this.#closed.signal.aborted || this.#running === 'promise') return
    // What it has changed is still being stored.
    if (isHeldBack(this.#reply)) return
    // After hijack() there is no other sign than the end of the response.
    if (this.#running === null || this.#answered || this.#reply.sent) this.#leave()
  }

  #leave(): void {
    this.#left = true
    clearTimeout(this.#timer)
    for (const sessions of this.#sessions) {
      const work = sessions.get(this.#request)
      if (work !== null) work.hasTurn = false
    }
    for (const leave of this.#leaves) leave()
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}
