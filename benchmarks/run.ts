import { execFileSync } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { measure } from './measure.js'
import { PEERS } from './peers.js'
import { startRedis } from './redis.js'
import { chart, machine, type Rounds, table } from './report.js'

/**
 * Compares session layers: one server process at a time, 50 connections, peers in rotating order.
 *
 *     npm run bench                      all workloads and peers, 5 rounds
 *     npm run bench -- --quick           1 short round of some peers, under a minute
 *     npm run bench -- --only counter    one workload
 */
const here = fileURLToPath(new URL('.', import.meta.url))
const quick = process.argv.includes('--quick')
const only = process.argv.includes('--only')
  ? process.argv.at(process.argv.indexOf('--only') + 1)
  : undefined
const ROUNDS = quick ? 1 : 5
const SECONDS = quick ? 2 : 4
const WARM_UP_SECONDS = 1
const QUICK_PEERS = [
  'bare Fastify',
  'fastify-sled-session',
  '@fastify/session, memory',
  '@fastify/secure-session'
]

const WORKLOADS = {
  counter: { title: 'Counter: read and write in each request', path: '/counter', known: true },
  read: { title: 'Read only, as a page that needs a login', path: '/read', known: true },
  untouched: { title: 'A route that does not touch its session', path: '/untouched', known: true },
  create: { title: 'First visit: a new session in each request', path: '/create', known: false }
}

async function run(): Promise<void> {
  execFileSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: here,
    stdio: 'inherit'
  })
  const redis = await startRedis()
  const peers = Object.keys(PEERS).filter((peer) => !quick || QUICK_PEERS.includes(peer))
  const results: Rounds = {}
  try {
    for (const [name, workload] of Object.entries(WORKLOADS)) {
      if (only !== undefined && only !== name) continue
      results[name] = await runWorkload(workload, peers, redis.url)
      console.log(`\n### ${workload.title}\n\n${table(results[name])}`)
    }
  } finally {
    await redis.stop()
  }
  if (!quick) await save(results)
}

async function runWorkload(
  workload: { path: string; known: boolean },
  peers: string[],
  redisUrl: string
): Promise<Rounds[string]> {
  const rounds: Rounds[string] = Object.fromEntries(peers.map((peer) => [peer, []]))
  const load = { ...workload, seconds: SECONDS, warmUpSeconds: WARM_UP_SECONDS }
  for (let round = 0; round < ROUNDS; round++) {
    // Each round begins with another peer, so that none always runs on a warm or a tired machine.
    for (let at = 0; at < peers.length; at++) {
      const peer = peers[(at + round) % peers.length] ?? ''
      rounds[peer]?.push(await measure(peer, load, { REDIS_URL: redisUrl }))
    }
  }
  return rounds
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

async function save(results: Rounds): Promise<void> {
  const folder = `${here}results/`
  await mkdir(folder, { recursive: true })
  for (const [name, peers] of Object.entries(results)) {
    const { title } = WORKLOADS[name as keyof typeof WORKLOADS]
    const date = new Date().toISOString().slice(0, 10)
    const about = { workload: title, date, machine: machine(), versions: await versions() }
    await writeFile(`${folder}${name}.json`, `${JSON.stringify({ ...about, peers }, null, 2)}\n`)
    await writeFile(`${folder}${name}.svg`, chart(`${title} (ratio to bare Fastify)`, peers))
  }
}

await run()
