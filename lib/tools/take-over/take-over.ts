import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { InvalidOptionError, StoreUnavailableError } from '../../errors.js'
import { findCookie } from '../../http/cookie/header.js'
import { goOn } from '../../http/sent-reply.js'
import type { Session } from '../../session/session.js'
import {
  type CheckedTakeOver,
  checkTakeOver,
  type FormerStore,
  type TakeOverOptions
} from './options.js'
import { unsign } from './unsign.js'

async function plugin(fastify: FastifyInstance, given: TakeOverOptions): Promise<void> {
  const options = checkTakeOver(given)
  const { sessionName } = options
  if (!fastify.hasRequestDecorator(sessionName)) {
    throw new InvalidOptionError('sessionName', 'names no registration: register sledSession first')
  }
  /** The former sessions that end with these requests. */
  const ending = new WeakMap<FastifyRequest, Ending>()
  const sessionOf = (request: FastifyRequest): Session =>
    (request as unknown as Record<string, Session>)[sessionName] as Session

  const takeIn = async (request: FastifyRequest, sid: string): Promise<void> => {
    const session = sessionOf(request)
    // Whoever has a session here has been taken over, or is somebody else by now; the former one
    // must not be there any more when this one has ended.
    if (!session.isNew) {
      const isThere = await read(options.from, sid).then(Boolean, () => true)
      if (isThere) ending.set(request, { sid, needsNew: false, isOver: false })
      return
    }
    const data = await read(options.from, sid)
    if (data === null) return
    const accepted = !hasExpired(data) && (await isAccepted(data, options))
    try {
      if (accepted) await fill(session, data, options)
    } catch (error) {
      // The former cookie reaches further: it waits for a request where ours does as well.
      if ((error as { code?: unknown }).code === 'SLED_SESSION_OUTSIDE_COOKIE_PATH') return
      throw error
    }
    ending.set(request, { sid, needsNew: accepted, isOver: false })
  }

  // Callbacks, not promises: what Fastify throws behind a promise of a hook has no handler.
  fastify.addHook('onRequest', (request, reply, done) => {
    const isSkipped = request.routeOptions.config.session === false
    const isPast = Date.now() >= Number(options.until)
    const sid = isSkipped || isPast ? null : formerId(request, options)
    if (sid === null) {
      done()
      return
    }
    takeIn(request, sid).then(
      () => goOn(reply, done),
      (error: Error) => goOn(reply, done, error)
    )
  })
  // A response for which the store has failed carries no cookie of ours.
  fastify.addHook('onError', (request, _reply, error, done) => {
    const former = ending.get(request)
    if (former?.needsNew && error instanceof StoreUnavailableError) ending.delete(request)
    done()
  })
  // Behind the plugin's own hook: what follows is true only if the new session is stored. At once,
  // or a reply that was sent would not count as sent meanwhile.
  fastify.addHook('onSend', (request, reply, _payload, done) => {
    const former = ending.get(request)
    if (former !== undefined) {
      const isStored = reply.statusCode < 500 || !sessionOf(request).isNew
      former.isOver = !former.needsNew || isStored
      if (former.isOver) forget(request, reply, options)
    }
    done()
  })
  // Not called for an answer that was cut off: its visitor comes with the former cookie again.
  fastify.addHook('onResponse', async (request) => {
    const former = ending.get(request)
    if (!former?.isOver) return
    options.from.destroy(former.sid, (error) => {
      if (error) request.log.error({ err: error }, 'a former session could not be removed')
    })
  })
}

interface Ending {
  readonly sid: string
  /** It was taken over, so it has to stay until what took its place is stored. */
  readonly needsNew: boolean
  isOver: boolean
}

function formerId(request: FastifyRequest, options: CheckedTakeOver): string | null {
  const { cookie } = request.raw.headers
  const value = cookie === undefined ? null : findCookie(cookie, options.cookieName)
  return value === null ? null : unsign(value, options.secrets)
}

function read(from: FormerStore, sid: string): Promise<Record<string, unknown> | null> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void =>
      reject(new StoreUnavailableError('read a former session', { cause }))
    const outcome = from.get(sid, (error, session) => {
      if (error) fail(error)
      // As JSON, as it was stored: some stores hand out what they had in memory.
      else resolve(session ? JSON.parse(JSON.stringify(session)) : null)
    })
    if (outcome instanceof Promise) outcome.catch(fail)
  })
}

/** As both packages look at it: some stores hand out what has run out and leave that to them. */
function hasExpired({ cookie }: Record<string, unknown>): boolean {
  const { expires } = (cookie ?? {}) as { expires?: unknown }
  return typeof expires === 'string' && Date.parse(expires) <= Date.now()
}

async function isAccepted(
  data: Record<string, unknown>,
  { accept }: CheckedTakeOver
): Promise<boolean> {
  if (accept === undefined) return true
  const accepted = await accept(data)
  // A forgotten `return` would end the sessions of all.
  if (typeof accepted !== 'boolean') {
    throw new InvalidOptionError('accept', 'must return true or false')
  }
  return accepted
}

/** The values move; the id is fresh, and the former cookie's settings are nothing here. */
async function fill(
  session: Session,
  data: Record<string, unknown>,
  { principal }: CheckedTakeOver
): Promise<void> {
  const { cookie: _cookie, ...values } = data
  for (const [key, value] of Object.entries(values)) session.set(key as never, value as never)
  const who = principal?.(values) ?? null
  if (who !== null) await session.setPrincipal(who)
}

function forget(
  request: FastifyRequest,
  reply: FastifyReply,
  { cookieName, cookiePath, cookieDomain }: CheckedTakeOver
): void {
  const ours = [reply.getHeader('set-cookie') ?? []].flat().map(String)
  // Under the same name, the new cookie has taken its place already.
  if (ours.some((header) => header.startsWith(`${cookieName}=`))) return
  const domain = cookieDomain === undefined ? '' : `; Domain=${cookieDomain}`
  const secure = request.protocol === 'https' ? '; Secure' : ''
  reply.header(
    'set-cookie',
    `${cookieName}=; Max-Age=0; Path=${cookiePath}${domain}; HttpOnly; SameSite=Lax${secure}`
  )
}

/**
 * Lets visitors keep the sessions that they had with express-session or @fastify/session. Register
 * it after the plugin, and remove it when `until` has passed.
 *
 * A request without a session of ours, but with a former cookie whose signature is right, gets a
 * new session with a fresh id and the former one's data; the former session is then removed. So is
 * one that has expired, that `accept` refuses, or that comes beside a session of ours. If the
 * former store fails, such a request is a 503.
 *
 * @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` at register
 */
export const takeOver = fp(plugin, {
  fastify: '5.x',
  name: 'fastify-sled-session/take-over',
  dependencies: ['fastify-sled-session']
})
