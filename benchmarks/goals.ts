import type { Measurement } from './measure.js'
import type { MillionResult } from './million-tables.js'
import { BASELINE, cpuRatios, isOurs, OURS, type Results, ratios } from './report.js'
import { spread } from './statistics.js'

const COLD = `${OURS}, 1M stored`
const COLD_ROLLING = `${COLD}, rolling`
const COOKIE = 'Fastify + one cookie'
const MEMORY = '@fastify/session, memory'
const SECURE = '@fastify/secure-session'

type Peers = Record<string, Measurement[]>

/** Of what `T` holds. */
interface Goal<T> {
  readonly workload: string
  readonly what: string
  readonly atLeast?: number
  readonly atMost?: number
  /** By requests per second, where there is `cpu` as well. */
  readonly measure: (result: T) => number
  /** The same by CPU time for a request, which is the steadier figure, and decides. */
  readonly cpu?: (result: T) => number
}

type Times = Required<Pick<Goal<Peers>, 'measure' | 'cpu'>>

/** How many times as fast ours is as a peer. */
function times(peer: string, mine = OURS): Times {
  return {
    measure: (peers) => spread(ratios(peers, mine, peer)).median,
    cpu: (peers) => spread(cpuRatios(peers, mine, peer)).median
  }
}

/** The least of the ratios to all who are not ours and keep sessions. */
function timesAny(): Times {
  const least = (pick: 'measure' | 'cpu') => (peers: Peers) => {
    const others = Object.keys(peers).filter(
      (peer) => peer !== BASELINE && peer !== COOKIE && !isOurs(peer)
    )
    return Math.min(...others.map((peer) => times(peer)[pick](peers)))
  }
  return { measure: least('measure'), cpu: least('cpu') }
}

/** The worst round of one peer. */
function loopDelay(peer: string): Pick<Goal<Peers>, 'what' | 'atMost' | 'measure'> {
  const measure = (peers: Peers): number =>
    Math.max(...(peers[peer] ?? []).map(({ loopDelayP99 }) => loopDelayP99))
  return { what: 'loop delay p99, ms', atMost: 10, measure }
}

const TO_BARE = 'to bare Fastify'
const TO_MEMORY = 'to @fastify/session in memory'
const TO_SECURE = 'to @fastify/secure-session'

const GOALS: readonly Goal<Peers>[] = [
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
  { workload: 'cold', ...loopDelay(COLD) },
  {
    workload: 'cold',
    what: `rolling, ${TO_BARE}`,
    atLeast: 0.4,
    ...times(BASELINE, COLD_ROLLING)
  },
  { workload: 'cold', ...loopDelay(COLD_ROLLING), what: 'rolling, loop delay p99, ms' }
]

const MILLION = '1,000,000 stored'

const MILLION_GOALS: readonly Goal<MillionResult['server']>[] = [
  {
    workload: MILLION,
    what: 'RSS at its most, MB',
    atMost: 220,
    measure: ({ rss, loop }) => Math.max(rss, loop.before.rss, loop.reaping.rss) / 1e6
  },
  {
    workload: MILLION,
    what: 'opening, ms',
    atMost: 300,
    measure: ({ openMilliseconds }) => openMilliseconds.median
  },
  {
    workload: MILLION,
    what: '100,000 reaped under full load, s',
    atMost: 20,
    measure: ({ loop }) => loop.reaping.milliseconds / 1000
  },
  {
    workload: MILLION,
    what: 'p99 of visitors meanwhile, to without',
    atMost: 2,
    measure: ({ visitors }) =>
      (visitors?.reaping.p99 ?? Number.NaN) / (visitors?.before.p99 ?? Number.NaN)
  }
]

const written = (value: number): string => value.toFixed(value < 10 ? 2 : 0)

function row<T>({ workload, what, atLeast, atMost, measure, cpu }: Goal<T>, result: T): string {
  const value = measure(result)
  const goal = atLeast === undefined ? `≤ ${atMost}` : `≥ ${atLeast}`
  const byCpu = cpu?.(result)
  const decides = byCpu ?? value
  const met = decides >= (atLeast ?? -Infinity) && decides <= (atMost ?? Infinity)
  const cells = Number.isFinite(value)
    ? [written(value), byCpu === undefined ? '' : written(byCpu), met ? 'yes' : 'no']
    : ['', '', 'not measured']
  return `| ${[workload, what, goal, ...cells].join(' | ')} |`
}

/** A Markdown table of the goals of all that was measured, and whether each was reached. */
export function goalTable(results: Results, million?: MillionResult): string {
  const rows = GOALS.flatMap((goal) => {
    const peers = results[goal.workload]
    return peers === undefined ? [] : [row(goal, peers)]
  })
  if (million !== undefined) rows.push(...MILLION_GOALS.map((goal) => row(goal, million.server)))
  const head = '| workload | | goal | measured | by CPU | met |'
  return [head, '|---|---|---:|---:|---:|---|', ...rows].join('\n')
}
