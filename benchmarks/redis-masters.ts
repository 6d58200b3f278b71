import { createCluster } from 'redis'
import { startCluster } from '../test/support/redis-cluster.js'
import { inFlight } from './redis-operations.js'
import { CONTESTANTS, type Held, OURS } from './redis-stores.js'
import { RedisWatch, sum } from './redis-usage.js'

/** What a cluster did in one round, each session created, loaded three times, and changed once. */
export interface MastersRound {
  readonly operations: number
  /** CPU time of each master, in µs. */
  readonly cpu: readonly number[]
  /** What each master has of all sessions' keys, and of all commands, 0 to 1. */
  readonly keys: readonly number[]
  readonly commands: readonly number[]
}

/** By how many masters there are. */
export type MastersResult = Record<string, MastersRound[]>

const LOADS = 3
const OPERATIONS_PER_SESSION = 1 + LOADS + 1

/** A cluster of one master beside one of three, in turn within each round. */
export async function measureMasters(rounds: number, sessions: number): Promise<MastersResult> {
  const running = new Map<string, Awaited<ReturnType<typeof start>>>()
  try {
    for (const masters of [1, 3]) running.set(String(masters), await start(masters))
    const result: MastersResult = { 1: [], 3: [] }
    for (let round = -1; round < rounds; round++) {
      for (const [name, { run }] of running) {
        const measured = await run(sessions)
        if (round >= 0) result[name]?.push(measured)
      }
    }
    return result
  } finally {
    for (const { stop } of running.values()) await stop()
  }
}

async function start(masters: number) {
  const cluster = await startCluster({ masters })
  const client = createCluster({ rootNodes: cluster.urls.map((url) => ({ url })) })
  await client.connect()
  const watch = await RedisWatch.on(cluster.urls)
  const open = CONTESTANTS[OURS] as (typeof CONTESTANTS)[string]
  const contestant = await open(client)
  return {
    run: async (sessions: number): Promise<MastersRound> => {
      await watch.empty()
      const before = await watch.totals()
      const held: Held[] = []
      await inFlight(sessions, async () => held.push(await contestant.create()))
      await inFlight(LOADS * sessions, (number) => (held[number % sessions] as Held).load())
      await inFlight(sessions, (number) => (held[number] as Held).save())
      const { cpu, commands } = await watch.since(before)
      const keys = await Promise.all(cluster.masters.map(({ ask }) => ask('DBSIZE')))
      return {
        operations: OPERATIONS_PER_SESSION * sessions,
        cpu,
        keys: shares(keys.map(Number)),
        commands: shares(commands)
      }
    },
    async stop() {
      await contestant.close()
      watch.close()
      client.destroy()
      await cluster.stop()
    }
  }
}

function shares(values: readonly number[]): number[] {
  const total = sum(values)
  return values.map((value) => value / total)
}
