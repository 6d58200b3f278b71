import type { FastifyRequest, RouteOptions } from 'fastify'
import { InvalidOptionError } from '../errors.js'
import { LONGEST_TIMER } from '../timers.js'

/** How long requests of one session queue for an exclusive route. */
export interface ExclusiveOptions {
  /** How many may wait; the next one gets a 503. Default 16. */
  maxQueue?: number
  /** How long one may wait, in ms; then it gets a 503. Default 10,000. */
  maxWait?: number
}

export type Limits = Required<ExclusiveOptions>

export const DEFAULT_LIMITS: Limits = { maxQueue: 16, maxWait: 10_000 }
/** In the settings of a route whose requests queue. */
const QUEUES = Symbol('fastify-sled-session.queues')

type Configured = Pick<RouteOptions, 'config'>
type RouteConfig = RouteOptions['config'] & { [QUEUES]?: true }

/** Whether the route has opted out with `config: { session: false }`. */
export function isSkipped(request: FastifyRequest): boolean {
  return request.routeOptions.config.session === false
}

/** What a route asks for, checked or not; `undefined` if it is not exclusive. */
export function exclusiveOf({ config }: Configured): true | ExclusiveOptions | undefined {
  const session = config?.session
  const exclusive = typeof session === 'object' ? session?.exclusive : undefined
  return exclusive === false ? undefined : exclusive
}

export function noteThatItQueues(route: RouteOptions): void {
  const config: RouteConfig = { ...route.config, [QUEUES]: true } as RouteConfig
  route.config = config
}

/** Says what is wrong with a route that claims to be exclusive and is not. */
export function checkThatItQueues(request: FastifyRequest): InvalidOptionErrorInstance | null {
  const { routeOptions } = request
  if (exclusiveOf(routeOptions) === undefined || (routeOptions.config as RouteConfig)[QUEUES])
    return null
  const problem =
    'came too late for this route, which was declared before fastify-sled-session was loaded: await its register, or import it before you make the application'
  return new InvalidOptionError('config.session.exclusive', problem)
}

type InvalidOptionErrorInstance = InstanceType<typeof InvalidOptionError>

/** @throws {InvalidOptionError} for what would be ignored, such as an option of the plugin */
export function checkRouteConfig(config: unknown): void {
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
export function checkLimits(exclusive: true | ExclusiveOptions): Limits {
  const limits = { ...DEFAULT_LIMITS }
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
