import type { FastifyRequest, RouteOptions } from 'fastify'
import { InvalidOptionError } from '../errors.js'
import {
  AS_GIVEN,
  type Checked,
  duration,
  type Option,
  option,
  readOptions,
  refuse
} from '../record/option.js'
import { LONGEST_TIMER } from '../timers.js'

/** How long requests of one session queue for an exclusive route. */
export interface ExclusiveOptions {
  /** How many may wait; the next one gets a 503. Default 16. */
  maxQueue?: number
  /** How long one may wait, in ms; then it gets a 503. Default 10,000. */
  maxWait?: number
}

export type Limits = Checked<typeof LIMITS>

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
export function checkThatItQueues(request: FastifyRequest): Error | null {
  const { routeOptions } = request
  if (exclusiveOf(routeOptions) === undefined || (routeOptions.config as RouteConfig)[QUEUES])
    return null
  const problem =
    'came too late for this route, which was declared before fastify-sled-session was loaded: await its register, or import it before you make the application'
  return new InvalidOptionError('config.session.exclusive', problem)
}

/** @throws {InvalidOptionError} for what would be ignored, such as an option of the plugin */
export function checkRouteConfig(config: unknown): void {
  if (config === undefined || config === false) return
  readOptions({ exclusive: AS_GIVEN }, config, { prefix: 'config.session.' })
}

/** @throws {InvalidOptionError} */
export function checkLimits(exclusive: true | ExclusiveOptions): Limits {
  return readOptions(LIMITS, exclusive === true ? {} : exclusive, {
    prefix: 'config.session.exclusive.'
  })
}

const LIMITS = {
  maxQueue: option(wholeNumber, 16),
  maxWait: option(duration(LONGEST_TIMER), 10_000)
} satisfies Record<keyof ExclusiveOptions, Option<unknown>>

function wholeNumber(value: unknown, name: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) refuse(name, 'must be a whole number')
  return value as number
}
