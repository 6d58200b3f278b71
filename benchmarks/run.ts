import { execFileSync } from 'node:child_process'
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { startRedis } from '../scripts/servers/redis.js'
import { workloadChart } from './charts.js'
import { goalTable } from './goals.js'
import type { Measurement } from './measure.js'
import { PEERS } from './peers.js'
import { machine, type Results, table } from './report.js'
import { ServerProcess } from './server-process.js'
import { type Scale, type Visitor, WORKLOADS, type Workload } from './workloads.js'

/**
 * Compares session layers: one server process at work at a time, 50 connections, peers in
 * rotating order. Rounds are short and many, because the speed of shared machines changes within
 * seconds, and only what was measured in the same of them can be compared.
 *
 *     npm run bench                          all workloads and peers, about 30 minutes
 *     npm run bench -- --quick               one short round of some peers, under a minute
 *     npm run bench -- --only counter,mix    some workloads
 */
const here = fileURLToPath(new URL('.', import.meta.url))
const quick = process.argv.includes('--quick')
const only = process.argv.includes('--only')
  ? process.argv.at(process.argv.indexOf('--only') + 1)?.split(',')
  : undefined
const FULL: Scale = {
  rounds: 15,
  warmUp: 3,
  seconds: 1,
  sessions: 100_000,
  cold: 1_000_000,
  expired: 100_000
}
/** Of workloads that fill a folder for each round, which takes longer than the round. */
const MOST_FILLED_ROUNDS = 5
const QUICK: Scale = {
  rounds: 1,
  warmUp: 1,
  seconds: 1,
  sessions: 2000,
  cold: 20_000,
  expired: 2000
}
const scale = quick ? QUICK : FULL
const QUICK_PEERS =
  /^bare|^fastify-sled-session$|stored|reaping|^@fastify\/(session, memory|secure-session)/
const QUICK_WORKLOADS = ['counter', 'read', 'create', 'mix']

async function run(): Promise<void> {
  await installPeers()
  const wanted = only ?? (quick ? QUICK_WORKLOADS : Object.keys(WORKLOADS))
  const redis = quick ? null : await startRedis()
  const env: NodeJS.ProcessEnv = redis === null ? {} : { REDIS_URL: redis.url }
  const results: Results = {}
  try {
    for (const name of wanted) {
      const workload = WORKLOADS[name]
      if (workload === undefined) throw new Error(`no workload "${name}"`)
      const peers = Object.keys(PEERS).filter(
        (peer) => workload.takesPart(peer) && (!quick || QUICK_PEERS.test(peer))
      )
      const measured = await runWorkload(workload, peers, env)
      results[name] = measured
      console.log(`\n### ${workload.title}\n\n${table(measured)}`)
      // At once: whoever ends a long run early has what was done.
      if (!quick) await save(name, workload.title, measured)
    }
  } finally {
    await redis?.stop()
  }
  console.log(`\n### Goals\n\n${goalTable(results)}`)
}

async function installPeers(): Promise<void> {
  const changedAt = async (file: string): Promise<number> =>
    (await stat(`${here}${file}`).catch(() => null))?.mtimeMs ?? 0
  const installed = await changedAt('node_modules/.package-lock.json')
  if (installed > (await changedAt('package-lock.json'))) return
  const options = ['--no-audit', '--no-fund', '--loglevel=error']
  execFileSync('npm', ['ci', ...options], { cwd: here, stdio: 'inherit' })
}

async function runWorkload(
  workload: Workload,
  peers: string[],
  env: NodeJS.ProcessEnv
): Promise<Record<string, Measurement[]>> {
  const rounds: Record<string, Measurement[]> = Object.fromEntries(peers.map((peer) => [peer, []]))
  const prepared = { ...env, ...(await workload.prepare?.(scale)) }
  const needsFolder = workload.prepare !== undefined || workload.prepareRound !== undefined
  const run = needsFolder
    ? (peer: string, ready: NodeJS.ProcessEnv) => runFresh(workload, peer, ready)
    : await startAll(workload, peers, prepared)
  const folders: NodeJS.ProcessEnv[] = [prepared]
  const most = workload.prepareRound === undefined ? scale.rounds : MOST_FILLED_ROUNDS
  for (let round = 0; round < Math.min(scale.rounds, most); round++) {
    const ready = { ...prepared, ...(await workload.prepareRound?.(scale)) }
    folders.push(ready)
    // Each round begins with another peer, so that none always runs on a warm or a tired machine.
    for (let at = 0; at < peers.length; at++) {
      const peer = peers[(at + round) % peers.length] ?? ''
      rounds[peer]?.push(await run(peer, ready))
    }
  }
  await stopAll()
  await removeFolders(folders)
  return rounds
}

const running: ServerProcess[] = []

/** For workloads on a folder that was filled, which one process at a time can have. */
async function runFresh(
  workload: Workload,
  peer: string,
  env: NodeJS.ProcessEnv
): Promise<Measurement> {
  const server = await ServerProcess.start(peer, env)
  try {
    if (workload.prepareRound === undefined) await warmUp(workload, server, [])
    return await workload.run(server, scale, [])
  } finally {
    await server.stop()
  }
}

/** These servers stay, idle while others are measured, so that rounds are short. */
async function startAll(
  workload: Workload,
  peers: string[],
  env: NodeJS.ProcessEnv
): Promise<(peer: string) => Promise<Measurement>> {
  const ready = new Map<string, () => Promise<Measurement>>()
  for (const peer of peers) {
    const server = await ServerProcess.start(peer, env)
    running.push(server)
    const visitors = (await workload.fill?.(server, scale)) ?? []
    await warmUp(workload, server, visitors)
    ready.set(peer, () => workload.run(server, scale, visitors))
  }
  return (peer) => (ready.get(peer) as () => Promise<Measurement>)()
}

async function warmUp(
  workload: Workload,
  server: ServerProcess,
  visitors: Visitor[]
): Promise<void> {
  await workload.run(server, { ...scale, seconds: scale.warmUp }, visitors)
}

async function stopAll(): Promise<void> {
  for (const server of running.splice(0)) await server.stop()
}

async function removeFolders(folders: NodeJS.ProcessEnv[]): Promise<void> {
  for (const { COLD_FOLDER, EXPIRED_FOLDER } of folders) {
    for (const folder of [COLD_FOLDER, EXPIRED_FOLDER]) {
      if (folder !== undefined) await rm(folder, { recursive: true, force: true })
    }
  }
}

async function versions(): Promise<Record<string, string>> {
  const { packages } = JSON.parse(await readFile(`${here}package-lock.json`, 'utf8')) as {
    packages: Record<string, { version: string; dependencies?: Record<string, string> }>
  }
  const names = Object.keys(packages['']?.dependencies ?? {})
  return Object.fromEntries(
    names.map((name) => [name, packages[`node_modules/${name}`]?.version ?? ''])
  )
}

async function save(
  name: string,
  title: string,
  peers: Record<string, Measurement[]>
): Promise<void> {
  const folder = `${here}results/`
  await mkdir(folder, { recursive: true })
  const date = new Date().toISOString().slice(0, 10)
  const about = { workload: title, date, machine: machine(), versions: await versions() }
  await writeFile(`${folder}${name}.json`, `${JSON.stringify({ ...about, peers }, null, 2)}\n`)
  await writeFile(`${folder}${name}.svg`, workloadChart(name, title, peers))
}

await run()
