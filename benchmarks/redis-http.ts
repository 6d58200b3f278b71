import { closedLoop, type Shot } from './http-client.js'
import { OURS, THEIRS } from './redis-stores.js'
import { type RedisWatch, sum } from './redis-usage.js'
import { ServerProcess } from './server-process.js'
import { beginSessions, mixture, type Visitor } from './workloads.js'

/** What one server did in one round; times of the CPU in µs for each request. */
export interface HttpRound {
  readonly requestsPerSecond: number
  readonly node: number
  readonly redis: number
  readonly commands: number
}

/** By workload and store. */
export type HttpResult = Record<string, Record<string, HttpRound[]>>

export interface HttpScale {
  readonly rounds: number
  readonly seconds: number
  readonly warmUp: number
  readonly sessions: number
}

const CONNECTIONS = 50
/** The servers that are compared, and what `peers.ts` calls them. */
export const BESIDE = {
  [OURS]: 'fastify-sled-session on Redis',
  [THEIRS]: '@fastify/session, Redis'
}

/** Of counter and read, so that two requests of one are rarely under way at a time. */
const VISITORS = 1000

const uniform = (path: string, visitors: Visitor[]) => (): Shot => {
  const visitor = visitors[Math.floor(Math.random() * VISITORS) % visitors.length] as Visitor
  const answered = (cookie: string | null): void => {
    if (cookie !== null) visitor.cookie = cookie
  }
  return { path, cookie: visitor.cookie, answered }
}

export const WORKLOADS: Record<string, (visitors: Visitor[]) => () => Shot> = {
  counter: (visitors) => uniform('/counter', visitors),
  read: (visitors) => uniform('/read', visitors),
  create: () => () => ({ path: '/create', cookie: '' }),
  mix: mixture
}

/**
 * A server of each on one Redis, in turn within each round.
 *
 * @param env what they need besides
 */
export async function measureHttp(
  peers: Record<string, string>,
  workloads: readonly string[],
  env: NodeJS.ProcessEnv,
  watch: RedisWatch,
  { rounds, seconds, warmUp, sessions }: HttpScale
): Promise<HttpResult> {
  const running: Running[] = []
  const result: HttpResult = {}
  try {
    for (const [who, peer] of Object.entries(peers)) {
      const server = await ServerProcess.start(peer, env)
      running.push({ who, server, visitors: await beginSessions(server.port, sessions) })
    }
    for (const workload of workloads) {
      const shots = WORKLOADS[workload] as (visitors: Visitor[]) => () => Shot
      const measured: Record<string, HttpRound[]> = {}
      for (const { who, server, visitors } of running) {
        measured[who] = []
        await run(server, watch, warmUp, shots(visitors))
      }
      for (let round = 0; round < rounds; round++) {
        for (let at = 0; at < running.length; at++) {
          const { who, server, visitors } = running[(at + round) % running.length] as Running
          measured[who]?.push(await run(server, watch, seconds, shots(visitors)))
        }
      }
      result[workload] = measured
    }
    return result
  } finally {
    for (const { server } of running) await server.stop()
  }
}

interface Running {
  readonly who: string
  readonly server: ServerProcess
  readonly visitors: Visitor[]
}

async function run(
  server: ServerProcess,
  watch: RedisWatch,
  seconds: number,
  next: () => Shot
): Promise<HttpRound> {
  await server.usage()
  const before = await watch.totals()
  const end = performance.now() + seconds * 1000
  const hits = await closedLoop(server.port, CONNECTIONS, () =>
    performance.now() < end ? next() : null
  )
  const { cpu } = await server.usage()
  const redis = await watch.since(before)
  return {
    requestsPerSecond: hits.requests / hits.seconds,
    node: cpu / hits.requests,
    redis: sum(redis.cpu) / hits.requests,
    commands: sum(redis.commands) / hits.requests
  }
}
