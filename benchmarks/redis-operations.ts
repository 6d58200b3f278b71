import type { RedisClient } from '../lib/redis.js'
import { CONTESTANTS, type Contestant, type Held } from './redis-stores.js'
import { type RedisWatch, sum } from './redis-usage.js'

/** What one operation took in one round, in the mean. */
export interface OperationRound {
  readonly operationsPerSecond: number
  /** CPU time of this process, and of Redis, in µs. */
  readonly node: number
  readonly redis: number
  /** Those that Redis ran, with what scripts call. */
  readonly commands: number
}

/** By operation and store. */
export type OperationResult = Record<string, Record<string, OperationRound[]>>

/** So many at a time, as a server with as many visitors has. */
const IN_FLIGHT = 50

type Operation = (contestant: Contestant, held: Held[], number: number) => Promise<unknown>

const onEach =
  (name: keyof Held): Operation =>
  (_contestant, held, number) =>
    (held[number % held.length] as Held)[name]()

/** In this order: what is created first is destroyed last. */
const OPERATIONS: Record<string, Operation> = {
  create: async (contestant, held) => held.push(await contestant.create()),
  load: onEach('load'),
  save: onEach('save'),
  touch: onEach('touch'),
  destroy: async (_contestant, held) => held.pop()?.destroy()
}

/** Does an operation so many times, many at a time. */
export async function inFlight(
  count: number,
  operate: (number: number) => Promise<unknown>
): Promise<void> {
  let next = 0
  const work = async (): Promise<void> => {
    while (next < count) await operate(next++)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, work))
}

/** Both stores on one server, in turn within each round. */
export async function measureOperations(
  client: RedisClient,
  watch: RedisWatch,
  { rounds, count }: { rounds: number; count: number }
): Promise<OperationResult> {
  const names = Object.keys(CONTESTANTS)
  const result: OperationResult = Object.fromEntries(
    Object.keys(OPERATIONS).map((name) => [name, Object.fromEntries(names.map((who) => [who, []]))])
  )
  const contestants = new Map<string, { contestant: Contestant; held: Held[] }>()
  for (const [name, open] of Object.entries(CONTESTANTS)) {
    contestants.set(name, { contestant: await open(client), held: [] })
  }
  // The round before the first one is for the compiler.
  for (let round = -1; round < rounds; round++) {
    for (const [name, operation] of Object.entries(OPERATIONS)) {
      for (let at = 0; at < names.length; at++) {
        const who = names[(at + round + 1) % names.length] as string
        const { contestant, held } = contestants.get(who) as {
          contestant: Contestant
          held: Held[]
        }
        const measured = await measure(watch, count, (number) =>
          operation(contestant, held, number)
        )
        if (round >= 0) result[name]?.[who]?.push(measured)
      }
    }
  }
  for (const { contestant } of contestants.values()) await contestant.close()
  return result
}

async function measure(
  watch: RedisWatch,
  count: number,
  operate: (number: number) => Promise<unknown>
): Promise<OperationRound> {
  const before = await watch.totals()
  const [cpu, begun] = [process.cpuUsage(), performance.now()]
  await inFlight(count, operate)
  const seconds = (performance.now() - begun) / 1000
  const used = process.cpuUsage(cpu)
  const redis = await watch.since(before)
  return {
    operationsPerSecond: count / seconds,
    node: (used.user + used.system) / count,
    redis: sum(redis.cpu) / count,
    commands: sum(redis.commands) / count
  }
}
