import { finished } from 'node:stream'
import type { FastifyInstance, FastifyReply, HookHandlerDoneFunction } from 'fastify'
import { setImmediate } from '../timers.js'

/** Whether a reply that was sent waits for the store. */
const HELD = Symbol('fastify-sled-session.held')
const TAUGHT = Symbol('fastify-sled-session.taught')

interface HoldableReply {
  [HELD]: boolean
  [TAUGHT]?: true
}

/** What would give another shape to an answer. After `send`, Fastify's own come too late as well. */
const SHAPING = ['code', 'status', 'header', 'type', 'removeHeader', 'trailer'] as const

/** Lets the replies of an application be held back. */
export function installSentReplies(fastify: FastifyInstance): void {
  if (!fastify.hasReplyDecorator(HELD)) fastify.decorateReply(HELD, false)
}

/**
 * Makes a reply count as sent while its answer still waits for the store: Fastify and the
 * application look at `reply.sent` before they send, run a further hook or call the handler.
 */
function holdBack(reply: FastifyReply): void {
  const holdable = reply as FastifyReply & HoldableReply
  if (holdable[TAUGHT] === undefined) teach(Object.getPrototypeOf(reply))
  holdable[HELD] = true
}

export function isHeldBack(reply: FastifyReply): boolean {
  return (reply as FastifyReply & HoldableReply)[HELD]
}

/** Before the answer goes on its way, or Fastify would refuse to send it. */
function letGo(reply: FastifyReply): void {
  ;(reply as FastifyReply & HoldableReply)[HELD] = false
}

/**
 * Once for an application, since `decorateReply` has given it a prototype of its own. Properties
 * that come and go with each reply that waits cost several times as much (docs/benchmarks.md).
 */
function teach(prototype: FastifyReply & HoldableReply): void {
  const { sent, ...methods } = inherited(prototype)
  Object.defineProperty(prototype, TAUGHT, { value: true })
  Object.defineProperty(prototype, 'sent', {
    enumerable: true,
    configurable: true,
    get(this: HoldableReply) {
      return this[HELD] || sent.call(this)
    }
  })
  function then(this: FastifyReply & HoldableReply, ...callbacks: Callbacks): void {
    if (this[HELD]) whenFinished(this, ...callbacks)
    else methods.then.apply(this, callbacks)
  }
  Object.assign(prototype, { then })
  for (const name of SHAPING) {
    const method = prototype[name] as (this: unknown, first: unknown, second?: unknown) => unknown
    Object.assign(prototype, {
      [name](this: HoldableReply, first: unknown, second?: unknown): unknown {
        return this[HELD] ? this : method.call(this, first, second)
      }
    })
  }
}

type Callbacks = [fulfilled: () => void, rejected?: (error: Error) => void]

interface Inherited {
  sent: (this: unknown) => boolean
  then: (this: unknown, ...callbacks: Callbacks) => void
}

function inherited(prototype: FastifyReply): Inherited {
  const then = prototype.then as Inherited['then']
  for (let at: object = prototype; at !== null; at = Object.getPrototypeOf(at)) {
    const sent = Object.getOwnPropertyDescriptor(at, 'sent')?.get
    if (sent !== undefined) return { sent, then }
  }
  throw new TypeError('a reply of Fastify has no "sent": this version of it is not supported')
}

/** What `then` of a reply that is not sent does in Fastify: it waits until the answer is out. */
function whenFinished(reply: FastifyReply, ...[fulfilled, rejected]: Callbacks): void {
  finished(reply.raw, (error) => {
    if (error && error.code !== 'ERR_STREAM_PREMATURE_CLOSE') rejected?.(error)
    else fulfilled()
  })
}

/**
 * Goes on with the request from a callback of ours. What Fastify throws from there, such as for a
 * header that cannot be sent, reaches none of its own handlers; so it gets it back as the error of
 * this hook, which is what it does with one that is thrown behind an async hook.
 */
export function goOn(
  reply: FastifyReply,
  done: HookHandlerDoneFunction,
  error?: Error | undefined
): void {
  try {
    done(error)
  } catch (thrown) {
    try {
      done(thrown instanceof Error ? thrown : new Error(String(thrown)))
    } catch (cause) {
      reply.log.error({ err: cause }, 'a request could not be answered, and was cut off')
      reply.raw.destroy()
    }
  }
}

/** Called once, with the error if there is one. */
export type Ended = (error: Error | null) => void

/**
 * Lets a reply that was sent wait for `work`, and then sends it, or the error in its place. On a
 * 5xx it goes as it is: it may be the application's own error page, for this very error.
 */
export function sendAfter(
  work: (ended: Ended) => void,
  reply: FastifyReply,
  payload: unknown,
  done: HookHandlerDoneFunction,
  settled: Ended
): void {
  let isOver = false
  work((error) => {
    isOver = true
    letGo(reply)
    settled(error)
    if (error === null || reply.statusCode >= 500) goOn(reply, done)
    else fail(error, payload, reply, done)
  })
  if (!isOver) holdBack(reply)
}

/**
 * Answers with the error in place of the payload, which must not stay open behind it. Not at once:
 * a handler that has just sent that payload must have returned, or Fastify would take its return
 * for the answer while an error handler still works on the page.
 */
function fail(
  error: Error & { statusCode?: number },
  payload: unknown,
  reply: FastifyReply,
  done: HookHandlerDoneFunction
): void {
  const stream = payload as { destroy?: () => void; cancel?: () => Promise<void> } | null
  if (typeof stream?.destroy === 'function') stream.destroy()
  else if (typeof stream?.cancel === 'function') stream.cancel().catch(() => {})
  const { statusCode = 500 } = error
  holdBack(reply)
  setImmediate(() => {
    letGo(reply)
    // Whatever page comes of it, it must not say that all went well.
    reply.code(statusCode >= 400 && statusCode <= 599 ? statusCode : 500)
    goOn(reply, done, error)
  })
}
