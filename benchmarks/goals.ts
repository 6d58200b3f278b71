import type { Measurement } from './measure.js'
import { BASELINE, isOurs, OURS, type Results, ratios } from './report.js'
import { spread } from './statistics.js'

const COLD = `${OURS}, 1M stored`

interface Goal {
  readonly workload: string
  readonly what: string
  readonly atLeast?: number
  readonly atMost?: number
  readonly measure: (peers: Record<string, Measurement[]>) => number
}

const toPeer =
  (peer: string, mine = OURS) =>
  (peers: Record<string, Measurement[]>): number =>
    spread(ratios(peers, mine, peer)).median

const worst =
  (pick: (measurement: Measurement) => number) =>
  (peers: Record<string, Measurement[]>): number =>
    Math.max(...(peers[COLD] ?? []).map(pick))

/** The least of the ratios to all who are not ours and keep sessions. */
function toBestPeer(peers: Record<string, Measurement[]>): number {
  const others = Object.keys(peers).filter((peer) => peer !== BASELINE && !isOurs(peer))
  return Math.min(...others.map((peer) => toPeer(peer)(peers)))
}

const GOALS: readonly Goal[] = [
  { workload: 'counter', what: 'to bare Fastify', atLeast: 0.65, measure: toPeer(BASELINE) },
  {
    workload: 'counter',
    what: 'to @fastify/session in memory',
    atLeast: 2.5,
    measure: toPeer('@fastify/session, memory')
  },
  {
    workload: 'counter',
    what: 'to @fastify/secure-session',
    atLeast: 1.8,
    measure: toPeer('@fastify/secure-session')
  },
  { workload: 'read', what: 'to bare Fastify', atLeast: 0.9, measure: toPeer(BASELINE) },
  { workload: 'untouched', what: 'to bare Fastify', atLeast: 0.97, measure: toPeer(BASELINE) },
  { workload: 'create', what: 'to bare Fastify', atLeast: 0.5, measure: toPeer(BASELINE) },
  { workload: 'mix', what: 'to bare Fastify', atLeast: 0.8, measure: toPeer(BASELINE) },
  { workload: 'mix', what: 'to the best other peer', atLeast: 1, measure: toBestPeer },
  { workload: 'cold', what: 'to bare Fastify', atLeast: 0.4, measure: toPeer(BASELINE, COLD) },
  {
    workload: 'cold',
    what: 'loop delay p99, ms',
    atMost: 10,
    measure: worst(({ loopDelayP99 }) => loopDelayP99)
  },
  { workload: 'cold', what: 'RSS, MB', atMost: 300, measure: worst(({ rss }) => rss / 1e6) },
  { workload: 'cold', what: 'start, ms', atMost: 1000, measure: worst(({ startMs }) => startMs) }
]

/** A Markdown table of the goals whose workloads were run, and whether each was reached. */
export function goalTable(results: Results): string {
  const rows = GOALS.flatMap(({ workload, what, atLeast, atMost, measure }) => {
    const peers = results[workload]
    if (peers === undefined) return []
    const value = measure(peers)
    if (!Number.isFinite(value)) return []
    const met = value >= (atLeast ?? -Infinity) && value <= (atMost ?? Infinity)
    const goal = atLeast === undefined ? `≤ ${atMost}` : `≥ ${atLeast}`
    const digits = value < 10 ? 2 : 0
    return [
      `| ${workload} | ${what} | ${goal} | ${value.toFixed(digits)} | ${met ? 'yes' : 'no'} |`
    ]
  })
  return ['| workload | | goal | measured | met |', '|---|---|---:|---:|---|', ...rows].join('\n')
}
