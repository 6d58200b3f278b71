import { finished } from 'node:stream'
import type { FastifyReply, HookHandlerDoneFunction } from 'fastify'

const SENT: PropertyDescriptor = { value: true, configurable: true }
const THEN: PropertyDescriptor = { value: whenFinished, configurable: true }

/**
 * Makes a reply count as sent while its answer still waits for the store: Fastify and the
 * application look at `reply.sent` before they send, run a further hook or call the handler. To
 * `await` it is to wait until the answer is out, as it is for any that takes its time.
 *
 * Both are getters and methods of the prototype, which properties of this one reply cover: that
 * costs nothing to a reply that does not wait (docs/benchmarks.md).
 */
export function holdBack(reply: FastifyReply): void {
  Object.defineProperty(reply, 'sent', SENT)
  Object.defineProperty(reply, 'then', THEN)
}

/** Before the answer goes on its way, or Fastify would refuse to send it. */
export function letGo(reply: FastifyReply): void {
  const held = reply as { then?: unknown; sent?: unknown }
  // Last in, first out: so V8 goes back to the shape that the reply had.
  delete held.then
  delete held.sent
}

/** What `then` of a reply that is not sent does in Fastify. */
function whenFinished(
  this: FastifyReply,
  fulfilled: () => void,
  rejected?: (error: Error) => void
): void {
  finished(this.raw, (error) => {
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
