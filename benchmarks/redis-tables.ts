import { underLoad } from './load.js'
import type { HttpResult, HttpRound } from './redis-http.js'
import type { MastersResult, MastersRound } from './redis-masters.js'
import type { WalkCost } from './redis-memory.js'
import type { OperationResult, OperationRound } from './redis-operations.js'
import { OURS, THEIRS } from './redis-stores.js'
import { sum } from './redis-usage.js'
import { spread } from './statistics.js'

/** What `redis.ts` has measured. */
export interface RedisResult {
  readonly date: string
  readonly machine: string
  /** Of Redis, and of the packages that were compared. */
  readonly versions: Record<string, string>
  readonly operations: OperationResult
  readonly sessions: number
  /** Bytes of each session in Redis, by store. */
  readonly bytes: Record<string, number>
  readonly walks: Record<'count' | 'records', WalkCost>
  readonly http: HttpResult
  /** The mix on each of our stores. */
  readonly stores: Record<string, HttpRound[]>
  readonly masters: MastersResult
}

export const number = (value: number): string => Math.round(value).toLocaleString('en-US')
export const median = <Round>(
  rounds: readonly Round[] | undefined,
  pick: (round: Round) => number
) => spread((rounds ?? []).map(pick)).median

/** A Markdown table; all columns but the first ones have numbers. */
export function markdown(head: string[], rows: string[][], texts = 1): string {
  const rule = head.map((_, at) => (at < texts ? '---' : '---:'))
  return [head, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** What ours takes in relation to what theirs takes, round by round. */
function ratio<Round>(
  rounds: Record<string, Round[]> | undefined,
  pick: (round: Round) => number
): number {
  const theirs = rounds?.[THEIRS] ?? []
  const ours = rounds?.[OURS] ?? []
  return spread(ours.map((round, at) => pick(round) / pick(theirs[at] as Round))).median
}

function redisAbout({ date, machine, versions }: RedisResult): string {
  const all = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return `Measured on ${date} on ${machine}. ${all.join(', ')}.`
}

function operationTable({ operations }: RedisResult): string {
  const rows = Object.entries(operations).flatMap(([name, stores]) =>
    Object.entries(stores).map(([store, rounds]) => [
      name,
      store,
      number(median(rounds, ({ operationsPerSecond }: OperationRound) => operationsPerSecond)),
      median(rounds, ({ node }) => node).toFixed(1),
      median(rounds, ({ redis }) => redis).toFixed(1),
      median(rounds, ({ commands }) => commands).toFixed(1),
      store === OURS ? `**${ratio(stores, ({ redis }) => redis).toFixed(2)}**` : ''
    ])
  )
  const head = ['operation', '', 'operations/s', 'CPU µs, Node.js', 'CPU µs, Redis', 'commands']
  head.push(`Redis to ${THEIRS}`)
  return markdown(head, rows, 2)
}

function httpTable({ http }: RedisResult): string {
  const rows = Object.entries(http).flatMap(([workload, stores]) =>
    Object.entries(stores).map(([store, rounds]) => [
      workload,
      store === OURS ? OURS : `@fastify/session, ${THEIRS}`,
      number(median(rounds, ({ requestsPerSecond }: HttpRound) => requestsPerSecond)),
      number(median(rounds, ({ node }) => node)),
      median(rounds, ({ redis }) => redis).toFixed(1),
      median(rounds, ({ commands }) => commands).toFixed(2),
      store === OURS
        ? `**${ratio(stores, ({ requestsPerSecond }) => requestsPerSecond).toFixed(2)}**`
        : ''
    ])
  )
  const head = ['workload', '', 'requests/s', 'CPU µs, Node.js', 'CPU µs, Redis', 'commands']
  head.push(`requests/s to ${THEIRS}`)
  return underLoad('closed', markdown(head, rows, 2))
}

function memoryTable({ bytes, sessions }: RedisResult): string {
  const rows = Object.entries(bytes).map(([store, each]) => [store, number(each)])
  return markdown([`${number(sessions)} sessions of 400 bytes`, 'bytes in Redis, each'], rows)
}

function walkTable({ walks, sessions }: RedisResult): string {
  const rows = Object.entries(walks).map(([what, { node, redis }]) => {
    return [`\`${what}()\``, node.toFixed(2), redis.toFixed(2)]
  })
  const head = [`${number(sessions)} sessions`, 'CPU µs each, Node.js', 'CPU µs each, Redis']
  return markdown(head, rows)
}

/** How many operations a second of the CPU of the busiest master is enough for. */
function capacity({ operations, cpu }: MastersRound): number {
  return (1e6 * operations) / Math.max(...cpu)
}

/** What three masters can do in relation to one. */
export function gainOfThree(masters: MastersResult): number {
  const one = masters[1] ?? []
  const ratios = (masters[3] ?? []).map(
    (three, at) => capacity(three) / capacity(one[at] as MastersRound)
  )
  return spread(ratios).median
}

function mastersTable({ masters }: RedisResult): string {
  const percents = (values: readonly number[]): string =>
    values.map((value) => `${(100 * value).toFixed(0)} %`).join(', ')
  const rows = Object.entries(masters).map(([count, rounds]) => {
    const last = rounds.at(-1) as MastersRound
    return [
      count,
      number(median(rounds, ({ operations, cpu }) => (1e6 * operations) / sum(cpu))),
      number(median(rounds, capacity)),
      percents(last.keys),
      percents(last.commands)
    ]
  })
  const head = ['masters', 'operations for a CPU second of Redis', 'of the busiest master']
  return markdown([...head, 'keys of each', 'commands of each'], rows)
}

/** What was aimed at, and whether it was reached. */
function redisGoals({ operations, http, bytes, masters }: RedisResult): string {
  const redis = (name: string): number => ratio(operations[name], (round) => round.redis)
  const commands = (workload: string): number => ratio(http[workload], (round) => round.commands)
  const goals: [what: string, value: number, atMost: number | null, atLeast?: number][] = [
    ['Redis CPU of a load', redis('load'), 1.3],
    ['Redis CPU of a create', redis('create'), 2],
    ['Redis CPU of a changed session', redis('save'), 2],
    ['bytes in Redis of a session', (bytes[OURS] ?? 0) / (bytes[THEIRS] ?? 0), 1.3],
    ['commands of the mix', commands('mix'), 1],
    ['requests/s of the mix', ratio(http.mix, (round) => round.requestsPerSecond), null, 1.3],
    ['capacity of three masters, to one', gainOfThree(masters), null, 2.5]
  ]
  const rows = goals.map(([what, value, atMost, atLeast = 0]) => {
    const met = atMost === null ? value >= atLeast : value <= atMost
    const goal = atMost === null ? `≥ ${atLeast}` : `≤ ${atMost}`
    return [what, goal, value.toFixed(2), met ? 'yes' : 'no']
  })
  return markdown([`to ${THEIRS}, where nothing else is said`, 'goal', 'measured', 'met'], rows)
}

/** By the name that the documentation has for it. */
export const REDIS_TABLES: Record<string, (result: RedisResult) => string> = {
  'redis-goals': redisGoals,
  'redis-operations': operationTable,
  'redis-memory': memoryTable,
  'redis-walks': walkTable,
  'redis-http': httpTable,
  'redis-masters': mastersTable,
  'redis-about': redisAbout
}
