import { underLoad } from './load.js'
import type { Spread } from './statistics.js'

/** A server on a million sessions for some time, as `reaper-server.mjs` tells of it. */
export interface Watched {
  /** How long it was, in ms. */
  readonly milliseconds: number
  /** Of the delay of the event loop, in ms. */
  readonly p50: number
  readonly p99: number
  readonly most: number
  /** At the end of it, in bytes. */
  readonly rss: number
}

/** Answers to visitors, in ms. */
export interface Answers {
  readonly p50: number
  readonly p99: number
  readonly most: number
}

/** What benchmarks/results/million.json holds. */
export interface MillionResult {
  readonly server: {
    readonly openMilliseconds: Spread
    readonly rss: number
    readonly loop: { readonly before: Watched; readonly reaping: Watched }
    /** In the same two times; older results do not have it. */
    readonly visitors?: { readonly before: Answers; readonly reaping: Answers }
  }
  readonly departure: { full: number; left: number; alive: number; headAfter: number }
}

export function millionTable({ server, departure }: MillionResult): string {
  const { openMilliseconds: open, loop, visitors } = server
  const mb = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`
  const ms = (value: number): string => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`
  const answers =
    visitors === undefined
      ? []
      : [
          ['answers p99 under full load', ms(visitors.before.p99)],
          ['the same while 100,000 expired ones are deleted', ms(visitors.reaping.p99)]
        ]
  const rows = [
    ['opening, median', `${ms(open.median)} (${ms(open.least)} to ${ms(open.most)})`],
    ['RSS of the server, which has served and reaped', mb(server.rss)],
    ['event loop delay p99 under full load', ms(loop.before.p99)],
    ['the same while 100,000 expired ones are deleted', ms(loop.reaping.p99)],
    ...answers,
    ['how long that takes under full load', `${Math.round(loop.reaping.milliseconds / 1000)} s`],
    ['disk use', mb(departure.full)],
    [
      `disk use when all are gone but ${departure.alive.toLocaleString('en-US')} others`,
      mb(departure.left)
    ],
    ['the next 1,000 expired, after that', ms(departure.headAfter)]
  ]
  const lines = rows.map((cells) => `| ${cells.join(' | ')} |`)
  const table = ['| with 1,000,000 sessions | |', '|---|---:|', ...lines].join('\n')
  return underLoad('autocannon', table)
}
