import { cpus, totalmem } from 'node:os'
import type { Measurement } from './measure.js'
import { spread } from './statistics.js'

/** Per workload and peer, one measurement a round. */
export type Results = Record<string, Record<string, Measurement[]>>

/** Whom all others are compared with, in the same round. */
export const BASELINE = 'bare Fastify'
export const OURS = 'fastify-sled-session'

export function isOurs(peer: string): boolean {
  return peer.startsWith(OURS)
}

export function machine(): string {
  const [first] = cpus()
  const memory = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} cores of ${first?.model.trim()}, ${memory} GiB, Node ${process.version}`
}

/** Requests per second in relation to another peer, round by round. */
export function ratios(
  peers: Record<string, Measurement[]>,
  peer: string,
  to = BASELINE
): number[] {
  return (peers[peer] ?? []).map(({ requestsPerSecond }, round) => {
    return requestsPerSecond / (peers[to]?.[round]?.requestsPerSecond ?? Number.NaN)
  })
}

/** What another takes of the CPU for a request in relation to what a peer takes, round by round. */
export function cpuRatios(
  peers: Record<string, Measurement[]>,
  peer: string,
  to = BASELINE
): number[] {
  return (peers[peer] ?? []).map(({ cpuPerRequest }, round) => {
    return (peers[to]?.[round]?.cpuPerRequest ?? Number.NaN) / cpuPerRequest
  })
}

/** A Markdown table of one workload. */
export function table(peers: Record<string, Measurement[]>): string {
  const rows = Object.entries(peers).map(([peer, rounds]) => {
    const of = (pick: (measurement: Measurement) => number) => spread(rounds.map(pick))
    const ratio = spread(ratios(peers, peer))
    const number = (value: number) => Math.round(value).toLocaleString('en-US')
    return [
      peer,
      number(of(({ requestsPerSecond }) => requestsPerSecond).median),
      `**${ratio.median.toFixed(2)}**`,
      `${ratio.least.toFixed(2)}–${ratio.most.toFixed(2)}`,
      of(({ p50 }) => p50).median.toFixed(1),
      of(({ p99 }) => p99).median.toFixed(1),
      of(({ p999 }) => p999).median.toFixed(1),
      number(of(({ cpuPerRequest }) => cpuPerRequest).median),
      spread(cpuRatios(peers, peer)).median.toFixed(2),
      `${number(100 * of(({ busy }) => busy).median)} %`,
      number(of(({ rss }) => rss).median / 1e6)
    ]
  })
  const head = ['', 'requests/s', 'to bare', 'spread', 'p50 ms', 'p99 ms', 'p99.9 ms']
  head.push('CPU µs', 'CPU to bare', 'loop busy', 'RSS MB')
  const lines = [head, head.map((_, at) => (at === 0 ? '---' : '---:')), ...rows]
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
