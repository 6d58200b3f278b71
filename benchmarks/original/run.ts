import { execFileSync } from 'node:child_process'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { machine } from '../report.js'
import { fill, reap, reapAll } from './reaping.js'
import { build, Server, type Side } from './servers.js'
import { countInParallel, killOften, logOutDuringRequest } from './trials.js'
import { type Round, runRound, WORKLOADS } from './workloads.js'

/**
 * Beside the original: axum with tower-sessions and its sled store, and this package, in one run,
 * by the same load generator, with the same sessions. Linux only: CPU time is read from /proc, and
 * "one core" is `taskset`.
 *
 *     npm run bench:original                  all of it, about 25 minutes
 *     npm run bench:original -- --quick       a short round of each, two minutes
 *     npm run bench:original -- --only kills  one part: load, reaper, kills or races
 */
const quick = process.argv.includes('--quick')
const only = process.argv.includes('--only')
  ? process.argv.at(process.argv.indexOf('--only') + 1)
  : undefined
const SIDES: readonly Side[] = ['ours', 'original']
const SCALE = quick
  ? { rounds: 1, seconds: 1, stored: 0.01, alive: [1000], gone: 2000, kills: 2 }
  : {
      rounds: 9,
      seconds: 2,
      stored: 1,
      alive: [10_000, 100_000, 1_000_000],
      gone: 100_000,
      kills: 50
    }
const WARM_UP_SECONDS = quick ? 1 : 3
const EXPIRED = 1000
const RESULT = fileURLToPath(new URL('../results/original.json', import.meta.url))

type Sides<T> = Record<Side, T>

async function onBothSides<T>(work: (side: Side) => Promise<T>): Promise<Sides<T>> {
  return { ours: await work('ours'), original: await work('original') }
}

/** The last core is the load generator's where the server is to have one alone. */
function pinMyself(cores: string): void {
  execFileSync('taskset', ['-a', '-p', '-c', cores, String(process.pid)], { stdio: 'ignore' })
}

async function load(name: string, cores: 'one' | 'all') {
  const workload = WORKLOADS[name]
  if (workload === undefined) throw new Error(`no workload "${name}"`)
  const stored = Math.round(workload.stored * SCALE.stored)
  const last = cpus().length - 1
  pinMyself(cores === 'one' ? String(last) : `0-${last}`)
  const rounds: Sides<Round[]> = { ours: [], original: [] }
  const disk: Sides<number> = { ours: 0, original: 0 }
  const startMs: Sides<number> = { ours: 0, original: 0 }
  const ready = await onBothSides(async (side) => {
    const filled = await fill(side, stored, 0)
    disk[side] = filled.disk
    const { expirySeconds } = workload
    const { folder } = filled
    const pinned = cores === 'one' ? { cores: '0' } : {}
    const server = await Server.start(side, { folder, expirySeconds, ...pinned })
    startMs[side] = server.startMs
    const next = workload.next(await workload.visitors(server, side, stored))
    await runRound(server, next, WARM_UP_SECONDS)
    return { server, folder, next }
  })
  for (let round = 0; round < SCALE.rounds; round++) {
    for (const side of round % 2 === 0 ? SIDES : [...SIDES].reverse()) {
      const { server, next } = ready[side]
      rounds[side].push(await runRound(server, next, SCALE.seconds))
    }
  }
  for (const { server, folder } of Object.values(ready)) {
    await server.kill()
    await rm(folder, { recursive: true, force: true })
  }
  pinMyself(`0-${last}`)
  return { workload: name, title: workload.title, cores, stored, disk, startMs, rounds }
}

async function loads() {
  const results = []
  for (const cores of ['one', 'all'] as const) {
    for (const name of Object.keys(WORKLOADS)) results.push(await load(name, cores))
  }
  return results
}

async function reaper() {
  const growth = []
  for (const alive of SCALE.alive) {
    growth.push(await onBothSides((side) => reap(side, alive, EXPIRED)))
  }
  return { growth, gone: await onBothSides((side) => reapAll(side, SCALE.gone)) }
}

const PARTS: Record<string, () => Promise<unknown>> = {
  load: loads,
  reaper,
  kills: () => onBothSides((side) => killOften(side, SCALE.kills)),
  races: async () => ({
    parallel: await onBothSides(countInParallel),
    logout: await onBothSides(logOutDuringRequest)
  })
}

async function versions(): Promise<Record<string, string>> {
  const lock = await readFile(new URL('Cargo.lock', import.meta.url), 'utf8')
  const crates = ['axum', 'tower-sessions', 'tower-sessions-sled-store', 'sled', 'tokio']
  return Object.fromEntries(
    crates.map((name) => [
      name,
      new RegExp(`name = "${name}"\nversion = "(.*)"`).exec(lock)?.[1] ?? ''
    ])
  )
}

async function run(): Promise<void> {
  const earlier = await readFile(RESULT, 'utf8').catch(() => '{}')
  const results: Record<string, unknown> = only === undefined ? {} : JSON.parse(earlier)
  for (const [name, part] of Object.entries(PARTS)) {
    if (only !== undefined && only !== name) continue
    results[name] = await part()
    console.log(JSON.stringify({ [name]: results[name] }, null, 1))
    if (quick) continue
    const date = new Date().toISOString().slice(0, 10)
    const about = { date, machine: machine(), versions: await versions() }
    await writeFile(RESULT, `${JSON.stringify({ ...results, ...about }, null, 2)}\n`)
  }
}

if (build()) await run()
