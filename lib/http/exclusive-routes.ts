import { subscribe } from 'node:diagnostics_channel'
import type {
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  HookHandlerDoneFunction,
  RouteOptions
} from 'fastify'
import { InvalidOptionError } from '../errors.js'
import type { RequestSessions } from './request-sessions.js'
import {
  checkLimits,
  checkRouteConfig,
  exclusiveOf,
  type Limits,
  noteThatItQueues
} from './route-config.js'
import { goOn } from './sent-reply.js'
import { Turn } from './turn.js'

/**
 * Makes routes with `config: { session: { exclusive: true } }` run one request at a time per
 * session, in all processes of its store if that can tell them. The hooks are the route's own, so that other routes pay nothing.
 *
 * @throws {InvalidOptionError} for the settings of a route that was declared already
 */
export function installExclusiveRoutes(fastify: FastifyInstance, sessions: RequestSessions): void {
  const application = applicationOf(fastify) ?? new Application(fastify)
  application.add(fastify, sessions)
  fastify.addHook('onReady', async () => application.checkThatAllQueue())
}

/** A route with settings of ours, and the registrations whose sessions come to it. */
class Route {
  readonly context: FastifyInstance
  readonly options: RouteOptions
  readonly sessions: RequestSessions[] = []
  limits: Limits | null = null

  constructor(context: FastifyInstance, options: RouteOptions) {
    this.context = context
    this.options = options
  }

  /** @throws {InvalidOptionError} */
  add(sessions: RequestSessions): void {
    checkRouteConfig(this.options.config?.session)
    const exclusive = exclusiveOf(this.options)
    if (exclusive !== undefined) {
      this.limits = checkLimits(exclusive)
      sessions.turns.share()
    }
    this.sessions.push(sessions)
  }
}

/** The routes and registrations of one application, whichever come first. */
class Application {
  readonly #registrations: { context: FastifyInstance; sessions: RequestSessions }[] = []
  readonly #routes: Route[] = []

  constructor(root: FastifyInstance) {
    applications.set(root, this)
    const note = (context: FastifyInstance, options: RouteOptions): void =>
      this.#note(context, options)
    root.addHook('onRoute', function (options) {
      note(this, options)
    })
  }

  /** Its hooks reach the routes of its own context, be they older, and later ones of its children. */
  add(context: FastifyInstance, sessions: RequestSessions): void {
    this.#registrations.push({ context, sessions })
    for (const route of this.#routes) if (route.context === context) route.add(sessions)
  }

  #note(context: FastifyInstance, options: RouteOptions): void {
    if (options.config?.session === undefined) return
    const route = new Route(context, options)
    for (const { context: outer, sessions } of this.#registrations) {
      if (outer === context || Object.prototype.isPrototypeOf.call(outer, context)) {
        route.add(sessions)
      }
    }
    this.#routes.push(route)
    if (exclusiveOf(options) !== undefined) queueUp(route)
  }

  /** @throws {InvalidOptionError} for a route to which no session comes */
  checkThatAllQueue(): void {
    for (const { options, limits } of this.#routes) {
      if (exclusiveOf(options) === undefined || limits !== null) continue
      const problem = `of ${options.method} ${options.url} has no session to go by: register fastify-sled-session before the plugin that declares this route`
      throw new InvalidOptionError('config.session.exclusive', problem)
    }
  }
}

const applications = new WeakMap<FastifyInstance, Application>()

// A route may be declared before the plugin is loaded, which `register` only plans.
subscribe('fastify.initialization', (message) => {
  new Application((message as { fastify: FastifyInstance }).fastify)
})

function applicationOf(context: FastifyInstance): Application | null {
  for (let at: FastifyInstance | null = context; at !== null; at = Object.getPrototypeOf(at)) {
    const application = applications.get(at)
    if (application !== undefined) return application
  }
  return null
}

function queueUp(route: Route): void {
  const { options } = route
  const { handler } = options
  const turns = new WeakMap<FastifyRequest, Turn>()

  function enter(
    request: FastifyRequest,
    reply: FastifyReply,
    done: HookHandlerDoneFunction
  ): void {
    const { limits, sessions } = route
    if (limits === null) {
      done()
      return
    }
    const turn = new Turn(request, reply, limits)
    turns.set(request, turn)
    turn.take(sessions).then(
      () => goOn(reply, done),
      (error: Error) => goOn(reply, done, error)
    )
  }

  noteThatItQueues(options)
  options.preHandler = [enter, options.preHandler ?? []].flat() as RouteOptions['preHandler'] &
    object
  options.handler = function (request, reply) {
    const handle = (): unknown => handler.call(this, request, reply)
    const turn = turns.get(request)
    return turn === undefined ? handle() : turn.run(handle)
  }
  // Behind the hook that saves: only then has a handler that returned no promise ended.
  const answered = (
    request: FastifyRequest,
    _reply: FastifyReply,
    _payload: unknown,
    done: HookHandlerDoneFunction
  ): void => {
    turns.get(request)?.answered()
    done()
  }
  options.onSend = [options.onSend ?? [], answered].flat() as RouteOptions['onSend'] & object
}
