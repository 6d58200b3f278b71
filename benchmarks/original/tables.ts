import { underLoad } from '../load.js'
import { type Spread, spread } from '../statistics.js'
import type { Reaping } from './reaping.js'
import type { Side } from './servers.js'
import type { KillResult } from './trials.js'
import type { Round } from './workloads.js'

type Sides<T> = Record<Side, T>

export interface Load {
  readonly workload: string
  readonly title: string
  readonly cores: 'one' | 'all'
  readonly stored: number
  /** In bytes, of what is stored before the first round. */
  readonly disk: Sides<number>
  readonly startMs: Sides<number>
  readonly rounds: Sides<Round[]>
}

/** What benchmarks/results/original.json holds. */
export interface OriginalResults {
  readonly date: string
  readonly machine: string
  /** Of the original's crates. */
  readonly versions: Record<string, string>
  readonly load: readonly Load[]
  readonly reaper: {
    readonly growth: readonly Sides<Reaping>[]
    readonly gone: Sides<{ full: number; left: number }>
  }
  readonly kills: Sides<KillResult>
  readonly races: {
    readonly parallel: Sides<{ sent: number; counted: number }>
    readonly logout: Sides<{ alive: boolean }>
  }
}

const number = (value: number): string => Math.round(value).toLocaleString('en-US')
const mb = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`
const ms = (value: number): string => (value < 10 ? value.toFixed(1) : number(value))

function markdown(rows: readonly (readonly string[])[]): string {
  const [head = [], ...body] = rows
  const rule = head.map((_, at) => (at === 0 ? '---' : '---:'))
  return [head, rule, ...body].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

const of = (rounds: readonly Round[], pick: (round: Round) => number): Spread =>
  spread(rounds.map(pick))

/** How many times as many requests ours serves, round by round. */
function ratio({ rounds }: Load): Spread {
  return spread(
    rounds.ours.map(({ requestsPerSecond }, at) => {
      return requestsPerSecond / (rounds.original[at]?.requestsPerSecond ?? Number.NaN)
    })
  )
}

function loadTable({ load }: OriginalResults): string {
  const head = ['', 'cores', 'ours, requests/s', 'the original', 'ratio, least to most']
  head.push('ours, CPU µs', 'the original', 'ours, p99 ms', 'the original')
  const rows = load.map((each) => {
    const { ours, original } = each.rounds
    const { median, least, most } = ratio(each)
    const sides = (pick: (round: Round) => number, write: (value: number) => string): string[] =>
      [ours, original].map((rounds) => write(of(rounds, pick).median))
    return [
      each.title,
      each.cores,
      ...sides(({ requestsPerSecond }) => requestsPerSecond, number),
      `${median.toFixed(2)} (${least.toFixed(2)} to ${most.toFixed(2)})`,
      ...sides(({ cpuPerRequest }) => cpuPerRequest, number),
      ...sides(({ p99 }) => p99, ms)
    ]
  })
  return underLoad('closed', markdown([head, ...rows]))
}

function spaceTable({ load, reaper: { gone } }: OriginalResults): string {
  const cold = load.find(({ workload, cores }) => workload === 'cold' && cores === 'all')
  const mix = load.find(({ workload, cores }) => workload === 'mix' && cores === 'all')
  const rows = [['', 'ours', 'the original']]
  for (const each of [mix, cold]) {
    if (each === undefined) continue
    const { disk, startMs, rounds, stored } = each
    const rss = (side: Side): string => mb(of(rounds[side], (round) => round.rss).median)
    const name = `${number(stored)} stored`
    rows.push([`${name}: disk`, mb(disk.ours), mb(disk.original)])
    rows.push([`${name}: RSS under load`, rss('ours'), rss('original')])
    rows.push([`${name}: start, ms`, ms(startMs.ours), ms(startMs.original)])
  }
  rows.push(['all expired and deleted: disk before', mb(gone.ours.full), mb(gone.original.full)])
  rows.push(['disk after', mb(gone.ours.left), mb(gone.original.left)])
  return markdown(rows)
}

function reaperTable({ reaper: { growth } }: OriginalResults): string {
  const head = ['alive', 'ours, ms', 'the original, ms', 'visitors without it, p99 ms: ours']
  head.push('the original', 'meanwhile: ours', 'the original', 'the slowest: ours', 'the original')
  const rows = growth.map(({ ours, original }) => [
    number(ours.alive),
    ...[ours, original].map(({ milliseconds }) => ms(milliseconds)),
    ...[ours, original].map(({ quiet }) => ms(quiet.p99)),
    ...[ours, original].map(({ meanwhile }) => ms(meanwhile.p99)),
    ...[ours, original].map(({ meanwhile }) => ms(meanwhile.most))
  ])
  return underLoad('closed', markdown([head, ...rows]))
}

function trialsTable({ kills, races: { parallel, logout } }: OriginalResults): string {
  const alive = (side: Side): string => (logout[side].alive ? 'alive again' : 'ended')
  return markdown([
    ['', 'ours', 'the original'],
    [
      `kill -9 under load, ${kills.ours.kills} times: acknowledged changes`,
      number(kills.ours.acknowledged),
      number(kills.original.acknowledged)
    ],
    ['of them lost', number(kills.ours.lost), number(kills.original.lost)],
    ['sessions lost whole', number(kills.ours.sessionsLost), number(kills.original.sessionsLost)],
    [
      `${number(parallel.ours.sent)} requests, 200 at once with one cookie: counted`,
      number(parallel.ours.counted),
      number(parallel.original.counted)
    ],
    [
      'logged out while a request is under way: afterwards the session is',
      alive('ours'),
      alive('original')
    ]
  ])
}

/** The small one for the README. */
function summaryTable(results: OriginalResults): string {
  const { load, kills, races, reaper } = results
  const rows = load
    .filter(({ cores }) => cores === 'all')
    .map((each) => {
      const median = (side: Side, pick: (round: Round) => number): string =>
        number(of(each.rounds[side], pick).median)
      const cell = (side: Side): string => {
        const rate = median(side, ({ requestsPerSecond }) => requestsPerSecond)
        return `${rate} (${median(side, ({ cpuPerRequest }) => cpuPerRequest)} µs)`
      }
      return [`${each.title}, requests/s (CPU for each)`, cell('ours'), cell('original')]
    })
  const largest = reaper.growth.at(-1)
  if (largest !== undefined) {
    const { ours, original } = largest
    const name = `${number(ours.expired)} expired among ${number(ours.alive)}, ms`
    rows.push([name, ms(ours.milliseconds), ms(original.milliseconds)])
  }
  const lost = `lost of what was acknowledged, ${kills.ours.kills} × \`kill -9\``
  const percent = ({ lost, acknowledged }: KillResult): string =>
    lost === 0 ? '0' : `${((100 * lost) / acknowledged).toFixed(0)} %`
  rows.push([lost, percent(kills.ours), percent(kills.original)])
  const { sent } = races.parallel.ours
  const counted = (side: Side): string => number(races.parallel[side].counted)
  rows.push([
    `counted of ${number(sent)} requests, 200 at once`,
    counted('ours'),
    counted('original')
  ])
  const head = ['', 'this package', 'axum, tower-sessions, sled']
  return underLoad('closed', markdown([head, ...rows]))
}

/** By the name that a block in the documentation has. */
export const ORIGINAL_TABLES: Record<string, (results: OriginalResults) => string> = {
  original: summaryTable,
  'original-load': loadTable,
  'original-space': spaceTable,
  'original-reaper': reaperTable,
  'original-trials': trialsTable,
  'original-machine': ({ date, machine, versions }) => {
    const crates = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
    return `Measured on ${date} on ${machine}. ${crates.join(', ')}.`
  }
}
