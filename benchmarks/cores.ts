import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createClient } from 'redis'
import { startRedis } from '../scripts/servers/redis.js'
import { coresGoals, coresTable, ONE_WORKER, REDIS, ROCKSDB, TWO_WORKERS } from './cores-tables.js'
import { closedLoop, type Shot } from './http-client.js'
import { idleTime, pin } from './processors.js'
import { machine } from './report.js'
import { ServerProcess } from './server-process.js'
import { beginSessions, mixture, type Visitor } from './workloads.js'

/**
 * Every core of the machine: one process on RocksDB, one and two workers on LMDB, and two workers
 * of @fastify/session with connect-redis on a Redis of their own. What counts is the CPU time for
 * each request, of all that is needed to answer it, Redis included: the load comes from the same
 * machine, and on two cores it takes its part of what two workers could have.
 *
 *     npm run bench:cores                some six minutes
 *     npm run bench:cores -- --quick     one short round, writes nothing
 */
const quick = process.argv.includes('--quick')
const ROUNDS = quick ? 1 : 15
/** Not those that this process may use at the moment, which change. */
const CORES = cpus().length
const SECONDS = quick ? 0.5 : 1
const WARM_UP = quick ? 0.5 : 3
const SESSIONS = quick ? 1000 : 50_000
/** So many visitors come to both workers that two requests of one are rarely under way at a time. */
const VISITORS = 1000
const CONNECTIONS_PER_WORKER = 50

/** How the same routes are served. */
interface SetUp {
  readonly peer: string
  readonly workers: number
}

const SET_UPS: Record<string, SetUp> = {
  [ROCKSDB]: { peer: 'fastify-sled-session', workers: 1 },
  [ONE_WORKER]: { peer: 'fastify-sled-session on LMDB', workers: 1 },
  [TWO_WORKERS]: { peer: 'fastify-sled-session on LMDB', workers: 2 },
  [REDIS]: { peer: '@fastify/session, Redis', workers: 2 }
}

/** What one set-up did in one round. */
export interface CoresRound {
  readonly requestsPerSecond: number
  /** CPU time for each request, in µs: of the workers, and of Redis. */
  readonly workers: number
  readonly redis: number
  /** The part of the machine that had nothing to do, 0 to 1. */
  readonly idle: number
}

/** By workload and set-up. */
export type CoresResult = Record<string, Record<string, CoresRound[]>>

const uniform = (path: string, visitors: Visitor[]) => (): Shot => {
  const visitor = visitors[Math.floor(Math.random() * VISITORS)] as Visitor
  const answered = (cookie: string | null): void => {
    if (cookie !== null) visitor.cookie = cookie
  }
  return { path, cookie: visitor.cookie, answered }
}

const WORKLOADS: Record<string, (visitors: Visitor[]) => () => Shot> = {
  counter: (visitors) => uniform('/counter', visitors),
  read: (visitors) => uniform('/read', visitors),
  mix: mixture
}

/** The workers of one set-up, each with a port of its own. */
class Running {
  readonly #workers: ServerProcess[]
  readonly #redisCpu: () => Promise<number>
  visitors: Visitor[] = []

  private constructor(workers: ServerProcess[], redisCpu: () => Promise<number>) {
    this.#workers = workers
    this.#redisCpu = redisCpu
  }

  static async start(
    { peer, workers }: SetUp,
    env: NodeJS.ProcessEnv,
    redisCpu: () => Promise<number>
  ): Promise<Running> {
    const started: ServerProcess[] = []
    for (let core = 0; core < workers; core++) {
      const server = await ServerProcess.start(peer, env)
      pin(server.pid, [core % CORES])
      started.push(server)
    }
    const running = new Running(started, redisCpu)
    running.visitors = await beginSessions(running.#ports, SESSIONS)
    return running
  }

  get #ports(): number[] {
    return this.#workers.map(({ port }) => port)
  }

  async run(workload: string, seconds: number): Promise<CoresRound> {
    leaveCores(this.#workers.length)
    const next = (WORKLOADS[workload] as (typeof WORKLOADS)[string])(this.visitors)
    await this.#usedCpu()
    const [redis, idle] = [await this.#redisCpu(), idleTime()]
    const end = performance.now() + seconds * 1000
    const connections = CONNECTIONS_PER_WORKER * this.#workers.length
    const hits = await closedLoop(this.#ports, connections, () =>
      performance.now() < end ? next() : null
    )
    const idleAfter = idleTime()
    return {
      requestsPerSecond: hits.requests / hits.seconds,
      workers: (await this.#usedCpu()) / hits.requests,
      redis: ((await this.#redisCpu()) - redis) / hits.requests,
      idle: (idleAfter - idle) / (hits.seconds * 1000 * CORES)
    }
  }

  /** Since it was last asked, in µs. */
  async #usedCpu(): Promise<number> {
    const usages = await Promise.all(this.#workers.map((worker) => worker.usage()))
    return usages.reduce((sum, { cpu }) => sum + cpu, 0)
  }

  async stop(): Promise<void> {
    for (const worker of this.#workers) await worker.stop()
  }
}

/** The load keeps off the workers' cores as long as there are others. */
function leaveCores(workers: number): void {
  const all = Array.from({ length: CORES }, (_, core) => core)
  const others = all.slice(workers)
  pin(process.pid, others.length > 0 ? others : all)
}

async function measureAll(running: Map<string, Running>): Promise<CoresResult> {
  const result: CoresResult = {}
  const names = [...running.keys()]
  for (const workload of Object.keys(WORKLOADS)) {
    const rounds: Record<string, CoresRound[]> = Object.fromEntries(names.map((name) => [name, []]))
    for (const each of running.values()) await each.run(workload, WARM_UP)
    for (let round = 0; round < ROUNDS; round++) {
      // Each round begins with another, so that none always runs on a warm or a tired machine.
      for (let at = 0; at < names.length; at++) {
        const name = names[(at + round) % names.length] as string
        rounds[name]?.push(await (running.get(name) as Running).run(workload, SECONDS))
      }
    }
    result[workload] = rounds
    console.log(`\n### ${workload}\n\n${coresTable({ [workload]: rounds })}`)
  }
  return result
}

async function run(): Promise<void> {
  const redis = await startRedis()
  const client = await createClient({ url: redis.url }).connect()
  const redisCpu = async (): Promise<number> => {
    const info = await client.info('cpu')
    const seconds = [...info.matchAll(/^used_cpu_(?:sys|user):([\d.]+)/gm)]
    return seconds.reduce((sum, [, text]) => sum + 1e6 * Number(text), 0)
  }
  const folder = await mkdtemp(join(tmpdir(), 'sled-bench-cores-'))
  const running = new Map<string, Running>()
  try {
    for (const [name, setUp] of Object.entries(SET_UPS)) {
      // The others do not use it.
      const cpuOfRedis = name === REDIS ? redisCpu : async () => 0
      const env = { LMDB_FOLDER: join(folder, name), REDIS_URL: redis.url }
      running.set(name, await Running.start(setUp, env, cpuOfRedis))
    }
    const workloads = await measureAll(running)
    console.log(`\n### Goals\n\n${coresGoals(workloads)}`)
    if (quick) return
    const date = new Date().toISOString().slice(0, 10)
    const json = JSON.stringify({ date, machine: machine(), workloads }, null, 2)
    await writeFile(fileURLToPath(new URL('results/cores.json', import.meta.url)), `${json}\n`)
  } finally {
    for (const each of running.values()) await each.stop()
    client.destroy()
    await redis.stop()
    await rm(folder, { recursive: true })
  }
}

await run()
