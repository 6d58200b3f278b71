import type { Measurement } from './measure.js'
import { BASELINE, cpuRatios, isOurs, OURS, type Results, ratios } from './report.js'
import { spread } from './statistics.js'

const COLD = `${OURS}, 1M stored`
const COOKIE = 'Fastify + one cookie'
const MEMORY = '@fastify/session, memory'
const SECURE = '@fastify/secure-session'

type Peers = Record<string, Measurement[]>

interface Goal {
  readonly workload: string
  readonly what: string
  readonly atLeast?: number
  readonly atMost?: number
  /** By requests per second, where there is `cpu` as well. */
  readonly measure: (peers: Peers) => number
  /** The same by CPU time for a request, which is the steadier figure, and decides. */
  readonly cpu?: (peers: Peers) => number
}

/** How many times as fast ours is as a peer. */
function times(peer: string, mine = OURS): Pick<Goal, 'measure' | 'cpu'> {
  return {
    measure: (peers) => spread(ratios(peers, mine, peer)).median,
    cpu: (peers) => spread(cpuRatios(peers, mine, peer)).median
  }
}

/** The least of the ratios to all who are not ours and keep sessions. */
function timesAny(): Pick<Goal, 'measure' | 'cpu'> {
  const least = (pick: 'measure' | 'cpu') => (peers: Peers) => {
    const others = Object.keys(peers).filter(
      (peer) => peer !== BASELINE && peer !== COOKIE && !isOurs(peer)
    )
    return Math.min(...others.map((peer) => times(peer)[pick]?.(peers) ?? Number.NaN))
  }
  return { measure: least('measure'), cpu: least('cpu') }
}

const worst =
  (pick: (measurement: Measurement) => number) =>
  (peers: Peers): number =>
    Math.max(...(peers[COLD] ?? []).map(pick))

const TO_BARE = 'to bare Fastify'
const TO_MEMORY = 'to @fastify/session in memory'
const TO_SECURE = 'to @fastify/secure-session'

const GOALS: readonly Goal[] = [
  { workload: 'counter', what: TO_BARE, atLeast: 0.75, ...times(BASELINE) },
  { workload: 'counter', what: TO_MEMORY, atLeast: 2.5, ...times(MEMORY) },
  { workload: 'counter', what: TO_SECURE, atLeast: 1.7, ...times(SECURE) },
  { workload: 'read', what: TO_BARE, atLeast: 0.85, ...times(BASELINE) },
  { workload: 'read', what: 'to the best other peer', atLeast: 1, ...timesAny() },
  { workload: 'untouched', what: TO_BARE, atLeast: 0.95, ...times(BASELINE) },
  { workload: 'untouched', what: 'to the best other peer', atLeast: 1, ...timesAny() },
  { workload: 'create', what: TO_BARE, atLeast: 0.6, ...times(BASELINE) },
  { workload: 'create', what: 'to the best other peer', atLeast: 1.2, ...timesAny() },
  { workload: 'mix', what: TO_BARE, atLeast: 0.65, ...times(BASELINE) },
  { workload: 'mix', what: TO_SECURE, atLeast: 1.25, ...times(SECURE) },
  { workload: 'big', what: TO_BARE, atLeast: 0.5, ...times(BASELINE) },
  { workload: 'big', what: TO_MEMORY, atLeast: 3, ...times(MEMORY) },
  { workload: 'cold', what: TO_BARE, atLeast: 0.4, ...times(BASELINE, COLD) },
  {
    workload: 'cold',
    what: 'loop delay p99, ms',
    atMost: 10,
    measure: worst(({ loopDelayP99 }) => loopDelayP99)
  },
  { workload: 'cold', what: 'RSS, MB', atMost: 220, measure: worst(({ rss }) => rss / 1e6) },
  { workload: 'cold', what: 'start, ms', atMost: 300, measure: worst(({ startMs }) => startMs) }
]

const written = (value: number): string => value.toFixed(value < 10 ? 2 : 0)

/** A Markdown table of the goals whose workloads were run, and whether each was reached. */
export function goalTable(results: Results): string {
  const rows = GOALS.flatMap(({ workload, what, atLeast, atMost, measure, cpu }) => {
    const peers = results[workload]
    if (peers === undefined) return []
    const value = measure(peers)
    if (!Number.isFinite(value)) return []
    const byCpu = cpu?.(peers)
    const decides = byCpu ?? value
    const met = decides >= (atLeast ?? -Infinity) && decides <= (atMost ?? Infinity)
    const goal = atLeast === undefined ? `≤ ${atMost}` : `≥ ${atLeast}`
    const cells = [workload, what, goal, written(value), byCpu === undefined ? '' : written(byCpu)]
    return [`| ${[...cells, met ? 'yes' : 'no'].join(' | ')} |`]
  })
  const head = '| workload | | goal | measured | by CPU | met |'
  return [head, '|---|---|---:|---:|---:|---|', ...rows].join('\n')
}
