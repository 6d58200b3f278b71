import type { CoresResult, CoresRound } from './cores.js'
import { underLoad } from './load.js'
import { type Spread, spread } from './statistics.js'

export const ROCKSDB = 'RocksDB, one process'
export const ONE_WORKER = 'LMDB, one worker'
export const TWO_WORKERS = 'LMDB, two workers'
export const REDIS = '@fastify/session on Redis, two workers'

type Rounds = Record<string, CoresRound[]>

const cpu = ({ workers, redis }: CoresRound): number => workers + redis

/** CPU time for a request in relation to another set-up, round by round. */
function cpuRatio(rounds: Rounds, name: string, to: string): Spread {
  const others = rounds[to] ?? []
  return spread((rounds[name] ?? []).map((round, at) => cpu(round) / cpu(others[at] as CoresRound)))
}

const number = (value: number): string => Math.round(value).toLocaleString('en-US')
const lines = (rows: string[][]): string => rows.map((row) => `| ${row.join(' | ')} |`).join('\n')

/** All that was measured. */
export function coresTable(result: CoresResult): string {
  const rows = Object.entries(result).flatMap(([workload, rounds]) =>
    Object.entries(rounds).map(([name, measured]) => {
      const of = (pick: (round: CoresRound) => number) => spread(measured.map(pick)).median
      const { median, least, most } = cpuRatio(rounds, name, ROCKSDB)
      return [
        workload,
        name,
        number(of(({ requestsPerSecond }) => requestsPerSecond)),
        number(of(cpu)),
        number(of(({ redis }) => redis)),
        `**${median.toFixed(2)}**`,
        `${least.toFixed(2)}–${most.toFixed(2)}`,
        `${number(100 * of(({ idle }) => idle))} %`
      ]
    })
  )
  const head = ['workload', '', 'requests/s', 'CPU µs', 'of it Redis', 'CPU to RocksDB', 'spread']
  head.push('cores idle')
  const table = lines([head, head.map((_, at) => (at < 2 ? '---' : '---:')), ...rows])
  return underLoad('closedEach', table)
}

/** CPU time for a request in µs, a column for each workload. */
export function coresSummary(result: CoresResult): string {
  const workloads = Object.keys(result)
  const rows = [ROCKSDB, ONE_WORKER, TWO_WORKERS, REDIS].map((name) => [
    name,
    ...workloads.map((workload) => number(spread((result[workload]?.[name] ?? []).map(cpu)).median))
  ])
  const head = ['CPU µs for each request', ...workloads]
  const table = lines([head, head.map((_, at) => (at === 0 ? '---' : '---:')), ...rows])
  return underLoad('closedEach', table)
}

/** What was aimed at, and whether it was reached. */
export function coresGoals(result: CoresResult): string {
  const row = (workload: string, what: string, goal: string, value: number, met: boolean) => [
    workload,
    what,
    goal,
    value.toFixed(2),
    met ? 'yes' : 'no'
  ]
  const atMost = (workload: string, name: string, to: string, what: string, goal: number) => {
    const value = cpuRatio(result[workload] ?? {}, name, to).median
    return row(workload, what, `≤ ${goal}`, value, value <= goal)
  }
  const rows = [
    atMost('counter', ONE_WORKER, ROCKSDB, 'CPU of LMDB to RocksDB', 1.5),
    atMost('read', ONE_WORKER, ROCKSDB, 'CPU of LMDB to RocksDB', 1.15),
    ...Object.keys(result).flatMap((workload) => {
      const scaling = 2 / cpuRatio(result[workload] ?? {}, TWO_WORKERS, ONE_WORKER).median
      return [
        row(workload, 'two workers to one, by CPU', '≥ 1.8', scaling, scaling >= 1.8),
        atMost(workload, TWO_WORKERS, REDIS, 'CPU of two workers to those on Redis', 1)
      ]
    })
  ]
  const head = ['workload', '', 'goal', 'measured', 'met']
  return lines([head, ['---', '---', '---:', '---:', '---'], ...rows])
}
