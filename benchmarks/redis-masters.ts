import { createCluster } from 'redis'
import { type RedisCluster, startCluster } from '../scripts/servers/redis-cluster.js'
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
/** Sessions at work at one time, for each master. */
const AT_WORK = 50
const MASTERS = 3

/**
 * Three masters that are clusters of one beside a cluster of three, in turn within each round. A
 * server that finds several commands waiting does each of them for less, so each master is to get as
 * many in a second: one that had all of them would be flattered.
 */
export async function measureMasters(rounds: number, sessions: number): Promise<MastersResult> {
  const running = new Map<string, Awaited<ReturnType<typeof start>>>()
  try {
    for (const masters of [1, MASTERS]) running.set(String(masters), await start(masters))
    const result: MastersResult = { 1: [], [MASTERS]: [] }
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

/** Clusters of so many masters, three masters in all; what the first of them does is measured. */
async function start(masters: number) {
  const clusters = await Promise.all(
    Array.from({ length: MASTERS / masters }, () => startCluster({ masters }))
  )
  const measured = clusters[0] as RedisCluster
  const watch = await RedisWatch.on(measured.urls)
  const clients = await Promise.all(clusters.map(({ urls }) => connectCluster(urls)))
  const stores = await Promise.all(clients.map((client) => openOurs(client, 'benchmark:')))
  return {
    run: async (sessions: number): Promise<MastersRound> => {
      const lanes = AT_WORK * masters
      const each = Math.ceil(sessions / (AT_WORK * MASTERS))
      await watch.empty()
      const before = await watch.totals()
      const work = stores.flatMap((store) => Array.from({ length: lanes }, () => live(store, each)))
      await Promise.all(work)
      const { cpu, commands } = await watch.since(before)
      const keys = await Promise.all(measured.masters.map(({ ask }) => ask('DBSIZE')))
      return {
        operations: OPERATIONS_PER_SESSION * each * lanes,
        cpu,
        keys: shares(keys.map(Number)),
        commands: shares(commands)
      }
    },
    async stop() {
      for (const store of stores) await store.close()
      for (const client of clients) client.destroy()
      watch.close()
      for (const cluster of clusters) await cluster.stop()
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
