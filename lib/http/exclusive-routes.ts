import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import { InvalidOptionError, SessionBusyError } from '../errors.js'
import { Turnstile } from '../session/turnstile.js'
import type { RequestSessions } from './request-sessions.js'
import { whenClosed } from './response-closed.js'

/** How long requests of one session queue for an exclusive route. */
export interface ExclusiveOptions {
  /** How many may wait; the next one gets a 503. Default 16. */
  maxQueue?: number
  /** How long one may wait, in ms; then it gets a 503. Default 10,000. */
  maxWait?: number
}

const DEFAULT_MAX_QUEUE = 16
const DEFAULT_MAX_WAIT = 10_000
const LONGEST_TIMER = 2 ** 31 - 1
const RETRY_AFTER_SECONDS = 1

/**
 * Makes routes with `config: { session: { exclusive: true } }` run one request at a time per
 * session, in this process. The hooks are the route's own, so that other routes pay nothing.
 */
export function installExclusiveRoutes(fastify: FastifyInstance, sessions: RequestSessions): void {
  const turnstile = new Turnstile()
  fastify.addHook('onRoute', (route) => {
    const config = route.config?.session
    checkConfig(config)
    const exclusive = typeof config === 'object' ? config.exclusive : undefined
    if (exclusive === undefined || exclusive === false) return
    queueUp(route, turnstile, sessions, checkLimits(exclusive))
  })
}

/** @throws {InvalidOptionError} for what would be ignored, such as an option of the plugin */
function checkConfig(config: unknown): void {
  if (config === undefined || config === false) return
  const name = 'config.session'
  if (typeof config !== 'object' || config === null) {
    throw new InvalidOptionError(name, 'must be false or an object')
  }
  const unknown = Object.keys(config).find((option) => option !== 'exclusive')
  if (unknown === undefined) return
  const problem = 'is not an option of a route: there is "exclusive", and false in place of all'
  throw new InvalidOptionError(`${name}.${unknown}`, problem)
}

/** @throws {InvalidOptionError} */
function checkLimits(exclusive: true | ExclusiveOptions): Required<ExclusiveOptions> {
  const limits = { maxQueue: DEFAULT_MAX_QUEUE, maxWait: DEFAULT_MAX_WAIT }
  if (exclusive === true) return limits
  const { maxQueue, maxWait, ...unknown } = Object.assign(limits, exclusive)
  if (
    typeof exclusive !== 'object' ||
    exclusive === null ||
    Object.keys(unknown).length > 0 ||
    !Number.isSafeInteger(maxQueue) ||
    maxQueue < 0 ||
    !(maxWait > 0 && maxWait <= LONGEST_TIMER)
  ) {
    throw new InvalidOptionError(
      'config.session.exclusive',
      `must be true or { maxQueue, maxWait }: a whole number, and ms up to ${LONGEST_TIMER}`
    )
  }
  return { maxQueue, maxWait }
}

function queueUp(
  route: RouteOptions,
  turnstile: Turnstile,
  sessions: RequestSessions,
  limits: Required<ExclusiveOptions>
): void {
  async function enter(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const record = sessions.get(request)?.record ?? null
    // A visitor without a session shares nothing with anybody.
    if (record === null) return
    const closed = new AbortController()
    whenClosed(request, reply, () => closed.abort())
    const { signal } = closed
    const turn = await turnstile.enter(record.handle, { ...limits, signal })
    if (typeof turn === 'string') {
      reply.header('retry-after', RETRY_AFTER_SECONDS)
      throw new SessionBusyError(REFUSALS[turn])
    }
    // The connection may have closed on the very tick of admission, and nobody would leave.
    if (signal.aborted) turn()
    else signal.addEventListener('abort', turn)
    await sessions.get(request)?.catchUp()
    // Whoever had the turn before may have logged the visitor out.
    if (record.destroyed) sessions.begin(request)
  }

  route.preHandler = [enter, ...asList(route.preHandler)] as RouteOptions['preHandler'] & object
}

const REFUSALS = {
  full: 'too many of its requests wait for this route',
  late: 'an earlier request holds this route for too long',
  aborted: 'the client went away while it waited'
}

function asList<T>(hooks: T | T[] | undefined): T[] {
  if (hooks === undefined) return []
  return Array.isArray(hooks) ? hooks : [hooks]
}
