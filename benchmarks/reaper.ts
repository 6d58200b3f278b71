import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import autocannon from 'autocannon'
import { folderSize } from '../lib/store/rocksdb/engine/engine-stats.js'
import type { RocksDBStore } from '../lib/store/rocksdb/rocksdb-store.js'
import { growthChart } from './charts.js'
import type { Answers, MillionResult, Watched } from './million-tables.js'
import { load, openStore, scan, sessionId, settled } from './reaper-data.js'
import { machine } from './report.js'
import { spread } from './statistics.js'

/**
 * What it costs to delete expired sessions, and what a million of them take:
 *
 *     npm run bench:reaper                both parts
 *     npm run bench:reaper -- growth      1,000 expired among ever more
 *     npm run bench:reaper -- million     a server on a million, and their departure
 */
const SIZES = [10_000, 100_000, 1_000_000]
const MILLION = 1_000_000
const EXPIRED = 1000
const ROUNDS = 7
const SCANS = 3
const UNDER_LOAD = 100_000
const CONNECTIONS = 50
const START = Date.UTC(2026, 0, 1)
const DAY = 86_400_000
const LIVE = START + 30 * DAY

let time = START
let fresh = 2_000_000

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** Medians of the time that the reaper and a scan take for 1,000 expired among so many. */
async function measureSize(folder: string, live: number) {
  const { store, db } = await openStore(folder, () => time)
  const loading = await timed(() => load(store, 0, live, LIVE))
  await settled(db)
  const reap: number[] = []
  const full: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    await loadExpired(store)
    reap.push(await timed(() => expect(store.deleteExpired(), EXPIRED)))
    if (round >= SCANS) continue
    await loadExpired(store)
    full.push(await timed(() => expect(scan(db, time), EXPIRED)))
    await store.deleteExpired()
  }
  await store.close()
  const result = { live, loading, reap: spread(reap), scan: spread(full) }
  console.log(JSON.stringify(result))
  return result
}

async function loadExpired(store: RocksDBStore, count = EXPIRED): Promise<void> {
  await load(store, fresh, count, time - 2 * DAY)
  fresh += count
}

async function expect(work: Promise<number>, count: number): Promise<void> {
  const found = await work
  if (found !== count) throw new Error(`deleted ${found} instead of ${count}`)
}

async function withServer<T>(
  folder: string,
  work: (server: ChildProcess, opened: { port: number; openMilliseconds: number }) => Promise<T>
): Promise<T> {
  const server = fork(fileURLToPath(new URL('reaper-server.mjs', import.meta.url)), [], {
    execArgv: [],
    env: { ...process.env, NODE_ENV: 'production', STORAGE: folder, NOW: String(time) }
  })
  try {
    const [opened] = await once(server, 'message')
    return await work(server, opened)
  } finally {
    server.kill('SIGKILL')
    await once(server, 'exit')
  }
}

async function ask(
  server: ChildProcess,
  what: 'watch' | 'reap'
): Promise<Watched & { readonly result?: number }> {
  server.send(what)
  const [answer] = await once(server, 'message')
  return answer
}

/** Load by known visitors out of all, until `work` is done; it is told how long they wait, in µs. */
async function underLoad<T>(
  port: number,
  work: (latency: RecordableHistogram) => Promise<T>
): Promise<T> {
  const requests = Array.from({ length: 2000 }, (_, at) => ({
    headers: { cookie: `id=${sessionId(at * 499)}` }
  }))
  const url = `http://127.0.0.1:${port}`
  const latency = createHistogram()
  let run: autocannon.Instance | undefined
  const ended = new Promise<void>((resolve) => {
    const options = { url, connections: CONNECTIONS, duration: 600, requests }
    run = autocannon(options, () => resolve())
    run.on('response', (_client, _status, _bytes, milliseconds) => {
      latency.record(Math.max(1, Math.round(1000 * milliseconds)))
    })
  })
  try {
    return await work(latency)
  } finally {
    run?.stop?.()
    await ended
  }
}

function answers(latency: RecordableHistogram): Answers {
  const ms = (microseconds: number): number => microseconds / 1000
  const [p50, p99] = [ms(latency.percentile(50)), ms(latency.percentile(99))]
  return { p50, p99, most: ms(latency.max) }
}

/** A server on a million sessions: opening, memory, and who waits how long while it reaps. */
async function measureServer(folder: string): Promise<MillionResult['server']> {
  const opening: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    opening.push(await withServer(folder, async (_, { openMilliseconds }) => openMilliseconds))
  }
  const { store } = await openStore(folder, () => time)
  await loadExpired(store, UNDER_LOAD)
  await store.close()
  return withServer(folder, async (server, { port }) => {
    return underLoad(port, async (latency) => {
      const watch = async (what: 'watch' | 'reap') => {
        latency.reset()
        const { result, ...watched } = await ask(server, what)
        return { result, watched, visitors: answers(latency) }
      }
      await watch('watch')
      const before = await watch('watch')
      const reaping = await watch('reap')
      if (reaping.result !== UNDER_LOAD) throw new Error(`reaped ${reaping.result}`)
      const after = await watch('watch')
      return {
        openMilliseconds: spread(opening),
        rss: after.watched.rss,
        loop: { before: before.watched, reaping: reaping.watched },
        visitors: { before: before.visitors, reaping: reaping.visitors }
      }
    })
  })
}

/** All but 10,000 of a million sessions go: the disk, and the head of the index, afterwards. */
async function measureDeparture(folder: string) {
  const full = await folderSize(folder)
  time = LIVE + 2 * DAY
  const first = await openStore(folder, () => time)
  await load(first.store, 5_000_000, 10_000, time + 30 * DAY)
  let deleted = 0
  const reaping = await timed(async () => {
    deleted = await first.store.deleteExpired()
  })
  await loadExpired(first.store)
  const headAfter = await timed(() => expect(first.store.deleteExpired(), EXPIRED))
  await first.store.close()
  // The next opening writes what is in the log to files; the run after it finds them to compact.
  const second = await openStore(folder, () => time)
  await loadExpired(second.store)
  const headAfterRestart = await timed(() => expect(second.store.deleteExpired(), EXPIRED))
  await second.store.deleteExpired()
  await second.store.close()
  const left = await folderSize(folder)
  return { deleted, reaping, full, left, alive: 10_000, headAfter, headAfterRestart }
}

async function save(name: string, results: object): Promise<void> {
  const folder = fileURLToPath(new URL('results/', import.meta.url))
  await mkdir(folder, { recursive: true })
  const date = new Date().toISOString().slice(0, 10)
  const all = { date, machine: machine(), ...results }
  await writeFile(`${folder}${name}.json`, `${JSON.stringify(all, null, 2)}\n`)
}

async function growth(root: string): Promise<void> {
  const sizes = []
  for (const live of SIZES) sizes.push(await measureSize(join(root, String(live)), live))
  await save('reaper', { expired: EXPIRED, sizes })
  const svg = fileURLToPath(new URL('results/reaper.svg', import.meta.url))
  await writeFile(svg, growthChart(sizes))
  const rows = sizes.map(({ live, reap, scan: full }) => ({
    live,
    'reaper, ms': Math.round(reap.median),
    'full scan, ms': Math.round(full.median)
  }))
  console.table(rows)
}

async function million(root: string): Promise<void> {
  const folder = join(root, 'million')
  const { store } = await openStore(folder, () => time)
  await load(store, 0, MILLION, LIVE)
  await store.close()
  const server = await measureServer(folder)
  console.log(JSON.stringify(server))
  const departure = await measureDeparture(folder)
  console.log(JSON.stringify(departure))
  await save('million', { server, departure })
}

const PARTS: Record<string, (root: string) => Promise<void>> = { growth, million }
const asked = process.argv[2]
const parts = Object.keys(PARTS).filter((name) => asked === undefined || asked === name)
const root = await mkdtemp(join(tmpdir(), 'fastify-sled-session-reaper-'))
try {
  for (const name of parts) await PARTS[name]?.(root)
} finally {
  await rm(root, { recursive: true, force: true })
}
