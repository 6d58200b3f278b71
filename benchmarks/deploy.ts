import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Balancer } from '../scripts/servers/balancer.js'
import { closedLoop } from './http-client.js'
import { machine } from './report.js'
import { type Spread, spread } from './statistics.js'

/**
 * How long nobody is answered while one process takes the place of another, with requests at a
 * fixed rate through a balancer, which takes the old process out before that is stopped:
 *
 *     npm run bench:deploy                two minutes
 *     npm run bench:deploy -- --quick     two rounds, writes nothing
 */
const quick = process.argv.includes('--quick')
const ROUNDS = quick ? 2 : 9
const SESSIONS = quick ? 500 : 20_000
const EVERY_MS = 5
/** Before and after what is measured. */
const AROUND_MS = 500

/** What a deploy did, over all rounds. */
export interface DeployRow {
  readonly way: string
  readonly failed: Spread
  /** The longest time between two answers, in ms. */
  readonly gap: Spread
}

type StoreName = 'rocksdb' | 'lmdb'

/** A server, which may not serve yet. */
class Server {
  readonly #child: ChildProcess
  readonly listening: Promise<string>
  /** It has warned that another process has the database. */
  readonly waiting: Promise<void>

  constructor(store: StoreName, folder: string) {
    this.#child = fork(fileURLToPath(new URL('deploy-server.mjs', import.meta.url)), {
      execArgv: [],
      env: { ...process.env, NODE_ENV: 'production', STORE: store, STORAGE: folder }
    })
    this.listening = this.#heard('url')
    this.waiting = this.#heard('warning').then(() => {})
  }

  #heard(what: 'url' | 'warning'): Promise<string> {
    return new Promise((resolve) => {
      this.#child.on('message', (message: Record<string, string>) => {
        const { [what]: text } = message
        if (text !== undefined) resolve(text)
      })
    })
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await once(this.#child, 'exit')
  }
}

/** Somebody who asks all the time, and notes how it went. */
class Probe {
  readonly #url: string
  readonly #running: Promise<void>
  #stopped = false
  #answeredAt = performance.now()
  failed = 0
  gap = 0

  constructor(url: string) {
    this.#url = url
    this.#running = this.#run()
  }

  async #run(): Promise<void> {
    const asked: Promise<void>[] = []
    while (!this.#stopped) {
      asked.push(this.#ask())
      await wait(EVERY_MS)
    }
    await Promise.all(asked)
  }

  async #ask(): Promise<void> {
    try {
      const response = await fetch(this.#url, { headers: { connection: 'close' } })
      await response.arrayBuffer()
      if (!response.ok) throw new Error(String(response.status))
      const now = performance.now()
      this.gap = Math.max(this.gap, now - this.#answeredAt)
      this.#answeredAt = now
    } catch {
      this.failed++
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }
}

/** What is at work in one round. */
interface Scene {
  readonly balancer: Balancer
  readonly folder: string
  readonly old: Server
}

/** Each brings a new server up, takes the old one down, and resolves to the new one. */
const WAYS: Record<string, [StoreName, (scene: Scene) => Promise<Server>]> = {
  'RocksDB: the old one is stopped, then the new one is started': [
    'rocksdb',
    async ({ balancer, folder, old }) => {
      await balancer.remove(await old.listening)
      await old.stop()
      const fresh = new Server('rocksdb', folder)
      balancer.add(await fresh.listening)
      return fresh
    }
  ],
  'RocksDB: the new one is started first, and waits for the old one': [
    'rocksdb',
    async ({ balancer, folder, old }) => {
      const fresh = new Server('rocksdb', folder)
      await fresh.waiting
      await balancer.remove(await old.listening)
      await old.stop()
      balancer.add(await fresh.listening)
      return fresh
    }
  ],
  'LMDB: the new one serves beside the old one, which is then stopped': [
    'lmdb',
    async ({ balancer, folder, old }) => {
      const fresh = new Server('lmdb', folder)
      balancer.add(await fresh.listening)
      await wait(AROUND_MS)
      await balancer.remove(await old.listening)
      await old.stop()
      return fresh
    }
  ]
}

async function measureWay(way: string, folder: string): Promise<DeployRow> {
  const [store, deploy] = WAYS[way] as (typeof WAYS)[string]
  const balancer = await Balancer.start()
  let old = new Server(store, folder)
  const url = await old.listening
  balancer.add(url)
  let left = SESSIONS
  await closedLoop(Number(new URL(url).port), 50, () =>
    left-- > 0 ? { path: '/', cookie: '' } : null
  )
  const probes: Probe[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const probe = new Probe(balancer.url)
    await wait(AROUND_MS)
    old = await deploy({ balancer, folder, old })
    await wait(AROUND_MS)
    await probe.stop()
    probes.push(probe)
  }
  await old.stop()
  balancer.close()
  const [failed, gap] = [probes.map((probe) => probe.failed), probes.map((probe) => probe.gap)]
  return { way, failed: spread(failed), gap: spread(gap) }
}

async function run(): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'sled-bench-deploy-'))
  try {
    const rows: DeployRow[] = []
    for (const [at, way] of Object.keys(WAYS).entries()) {
      rows.push(await measureWay(way, join(root, String(at))))
      console.log(rows.at(-1))
    }
    if (quick) return
    const date = new Date().toISOString().slice(0, 10)
    const json = { date, machine: machine(), requestsPerSecond: 1000 / EVERY_MS, rows }
    const file = fileURLToPath(new URL('results/deploy.json', import.meta.url))
    await writeFile(file, `${JSON.stringify(json, null, 2)}\n`)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

await run()
