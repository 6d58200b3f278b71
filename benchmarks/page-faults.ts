import { execFileSync } from 'node:child_process'
import { mkdtemp, open, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { copySessions } from '../lib/index.js'
import type { LmdbStore } from '../lib/lmdb.js'
import type { openSessionStore } from '../lib/store/open-store.js'
import { fillDatabase, idOf } from './fill.js'
import { openLoop, type Shot } from './http-client.js'
import { CONNECTIONS } from './measure.js'
import { machine } from './report.js'
import { ServerProcess } from './server-process.js'

/**
 * What reads cost whose pages are not in memory, as with a database that is larger than what is
 * free: the system's cache holds nothing of it when the server starts, and each request reads
 * another session, drawn at random. LMDB's reads are memory accesses, so the event loop stands
 * still until the disk has answered; RocksDB's wait in threads of their own. Linux only.
 *
 *     npm run bench:faults                some four minutes
 *     npm run bench:faults -- --quick     one rate on a small database, writes nothing
 */
const quick = process.argv.includes('--quick')
const SESSIONS = quick ? 20_000 : 1_000_000
const RATES = quick ? [100] : [100, 500, 2000]
const SECONDS = quick ? 2 : 5

const PEERS = {
  LMDB: 'fastify-sled-session on LMDB, not rolling',
  RocksDB: 'fastify-sled-session, 1M stored'
}

/** One server, whose pages were all on disk, at one rate. */
export interface PageFaultRow {
  readonly store: string
  /** Requests per second. */
  readonly rate: number
  readonly served: number
  /** For each request, by the process; reads by `read` and not by the map are not in it. */
  readonly faults: number
  /** How late the event loop was, in ms. */
  readonly loopDelayP99: number
  readonly loopDelayMost: number
  /** Of the answers, in ms. */
  readonly p50: number
  readonly p99: number
}

async function fill(root: string): Promise<Record<keyof typeof PEERS, string>> {
  const { copySessions: copy } = (await import('../dist/index.js' as string)) as {
    copySessions: typeof copySessions
  }
  const { openSessionStore: openStore } = (await import(
    '../dist/store/open-store.js' as string
  )) as {
    openSessionStore: typeof openSessionStore
  }
  const { LmdbStore: Store } = (await import('../dist/lmdb.js' as string)) as {
    LmdbStore: typeof LmdbStore
  }
  const folders = { LMDB: join(root, 'lmdb'), RocksDB: await fillDatabase(SESSIONS, 0) }
  const source = await openStore(folders.RocksDB)
  const target = new Store({ path: folders.LMDB })
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  await target.open({ now: Date.now, log })
  await copy(source, target)
  await source.close()
  await target.close()
  return folders
}

/** Takes the files of a folder out of the system's cache; nobody may have them open. */
async function forget(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const file = await open(path, 'r+')
    await file.sync()
    await file.close()
    execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none'])
  }
}

async function sizeOf(folder: string): Promise<number> {
  const sizes = (await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size)
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

async function measure(
  store: keyof typeof PEERS,
  folder: string,
  rate: number
): Promise<PageFaultRow> {
  await forget(folder)
  const env = { LMDB_FOLDER: folder, COLD_FOLDER: folder }
  const server = await ServerProcess.start(PEERS[store], env)
  try {
    const next = (path: string) => (): Shot => ({
      path,
      cookie: `id=${idOf(Math.floor(Math.random() * SESSIONS))}`
    })
    // Else the first requests would wait for code that is not compiled yet.
    await openLoop(server.port, CONNECTIONS, 1000, 2, next('/untouched'))
    await server.usage()
    const hits = await openLoop(server.port, CONNECTIONS, rate, SECONDS, next('/read'))
    const { loopDelayP99, loopDelayMost, pageFaults } = await server.usage()
    const ms = (percentile: number): number => hits.latency.percentile(percentile) / 1000
    return {
      store,
      rate,
      served: hits.requests / hits.seconds,
      faults: pageFaults / hits.requests,
      ...{ loopDelayP99, loopDelayMost, p50: ms(50), p99: ms(99) }
    }
  } finally {
    await server.stop()
  }
}

async function run(): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'sled-bench-faults-'))
  try {
    const folders = await fill(root)
    const rows: PageFaultRow[] = []
    for (const rate of RATES) {
      for (const store of ['LMDB', 'RocksDB'] as const) {
        rows.push(await measure(store, folders[store], rate))
        console.log(rows.at(-1))
      }
    }
    const bytes = { LMDB: await sizeOf(folders.LMDB), RocksDB: await sizeOf(folders.RocksDB) }
    await rm(folders.RocksDB, { recursive: true })
    if (quick) return
    const date = new Date().toISOString().slice(0, 10)
    const json = { date, machine: machine(), sessions: SESSIONS, bytes, rows }
    const file = fileURLToPath(new URL('results/page-faults.json', import.meta.url))
    await writeFile(file, `${JSON.stringify(json, null, 2)}\n`)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

await run()
