import { idOf } from '../fill.js'
import { closedLoop, type Shot } from '../http-client.js'
import { mixture, type Visitor } from '../workloads.js'
import type { Server, Side } from './servers.js'

export const CONNECTIONS = 50
export const DAY_SECONDS = 86_400

/** One round of one workload on one side. */
export interface Round {
  readonly requestsPerSecond: number
  /** CPU time of the server with all its threads, in µs. */
  readonly cpuPerRequest: number
  /** In ms. */
  readonly p50: number
  readonly p99: number
  /** In bytes, after the round. */
  readonly rss: number
}

export interface Workload {
  readonly title: string
  /** How many sessions of 500 bytes are stored before the first round. */
  readonly stored: number
  readonly expirySeconds: number
  /** Called once for each server. */
  readonly visitors: (server: Server, side: Side, stored: number) => Promise<Visitor[]>
  readonly next: (visitors: Visitor[]) => () => Shot
}

const SPREAD = 0x9e3779b97f4a7c15f39cc0605cedc835n
const ID_MASK = (1n << 128n) - 1n

/** The cookie of a session that the original's `fill` has stored: src/fill.rs has the same sum. */
function originalId(number: number): string {
  const id = ((BigInt(number) + 1n) * SPREAD) & ID_MASK
  return Buffer.from(id.toString(16).padStart(32, '0'), 'hex').reverse().toString('base64url')
}

async function storedVisitors(_: Server, side: Side, stored: number): Promise<Visitor[]> {
  const id = side === 'ours' ? idOf : originalId
  return Array.from({ length: stored }, (_, number) => ({ cookie: `id=${id(number)}` }))
}

/** As many as there are connections, each with a counter of its own. */
export async function countingVisitors({ port }: { readonly port: number }): Promise<Visitor[]> {
  const visitors: Visitor[] = []
  let left = CONNECTIONS
  await closedLoop(port, CONNECTIONS, () => {
    if (left-- <= 0) return null
    const answered = (cookie: string | null): void => {
      if (cookie !== null) visitors.push({ cookie })
    }
    return { path: '/counter', cookie: '', answered }
  })
  return visitors
}

/** One visitor after the other, so that parallel requests are those of different people. */
function inTurn(path: string): Workload['next'] {
  return (visitors) => {
    let at = 0
    return () => ({ path, cookie: visitors[at++ % visitors.length]?.cookie ?? '' })
  }
}

function uniformly(path: string): Workload['next'] {
  return (visitors) => () => {
    const cookie = visitors[Math.floor(Math.random() * visitors.length)]?.cookie ?? ''
    return { path, cookie }
  }
}

const few = { stored: 0, expirySeconds: 10, visitors: countingVisitors }
const many = { expirySeconds: DAY_SECONDS, visitors: storedVisitors }

export const WORKLOADS: Record<string, Workload> = {
  counter: { title: 'counter: read and write', ...few, next: inTurn('/counter') },
  // A read moves no deadline: with ten seconds most of it would be reads of sessions that are gone.
  read: { title: 'read only', ...few, expirySeconds: DAY_SECONDS, next: inTurn('/read') },
  create: {
    title: 'create a session',
    ...few,
    visitors: async () => [],
    next: () => () => ({ path: '/create', cookie: '' })
  },
  mix: { title: 'mix, 100,000 stored', ...many, stored: 100_000, next: mixture },
  cold: {
    title: 'cold reads, 1,000,000 stored',
    ...many,
    stored: 1_000_000,
    next: uniformly('/read')
  }
}

export async function runRound(server: Server, next: () => Shot, seconds: number): Promise<Round> {
  await server.usage()
  const end = performance.now() + seconds * 1000
  const hits = await closedLoop(server.port, CONNECTIONS, () =>
    performance.now() < end ? next() : null
  )
  const { cpu, rss } = await server.usage()
  return {
    requestsPerSecond: hits.requests / hits.seconds,
    cpuPerRequest: cpu / hits.requests,
    p50: hits.latency.percentile(50) / 1000,
    p99: hits.latency.percentile(99) / 1000,
    rss
  }
}
