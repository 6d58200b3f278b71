import { createCluster } from 'redis'
import { startCluster } from '../scripts/servers/redis-cluster.js'
import { type Contestant, openOurs } from './redis-stores.js'
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
  const watch = await RedisWatch.on(cluster.urls)
  // As many as masters, each of which asks for one thing at a time: a server that finds several
  // commands waiting does each of them for less, and one master would find more of them than three.
  const clients = await Promise.all(
    Array.from({ length: masters }, () => connectCluster(cluster.urls))
  )
  const stores = await Promise.all(
    clients.map((client, at) => openOurs(client, `benchmark ${at}:`))
  )
  return {
    run: async (sessions: number): Promise<MastersRound> => {
      await watch.empty()
      const before = await watch.totals()
      await Promise.all(stores.map((store) => live(store, sessions / stores.length)))
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
      for (const store of stores) await store.close()
      for (const client of clients) client.destroy()
      watch.close()
      await cluster.stop()
    }
  }
}

function connectCluster(urls: readonly string[]) {
  return createCluster({ rootNodes: urls.map((url) => ({ url })) }).connect()
}

/** So many sessions, one after the other. */
async function live(store: Contestant, sessions: number): Promise<void> {
  for (let at = 0; at < sessions; at++) {
    const held = await store.create()
    for (let load = 0; load < LOADS; load++) await held.load()
    await held.save()
  }
}

function shares(values: readonly number[]): number[] {
  const total = sum(values)
  return values.map((value) => value / total)
}
