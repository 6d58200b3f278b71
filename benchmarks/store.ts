import { type FileHandle, mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { RocksDatabase } from '../lib/store/rocksdb/engine/binding.js'
import type { openDatabase } from '../lib/store/rocksdb/engine/database.js'
import type { LiveRecord } from '../lib/store/rocksdb/live-record.js'
import type { RocksDBStore } from '../lib/store/rocksdb/rocksdb-store.js'
import { idOf } from './fill.js'
import { machine } from './report.js'
import { PROFILE } from './session-data.js'
import { type Spread, spread } from './statistics.js'

/**
 * The store alone, beside rocksdb-native with the same bytes. "raw, batched" writes or reads as
 * many keys in one call as the store has in flight, which is the least that the binding can cost;
 * "raw, each" calls the binding for each key, as an application would.
 */
const SESSIONS = 100_000
const ROUNDS = 5
const SECONDS = 0.5
/** Large enough that nothing is flushed to files meanwhile, so that all do the same work. */
const MEMTABLE_BYTES = 1024 * 1024 * 1024

type Durability = 'process' | 'power'

/** Rates in operations per second. */
export interface StoreRow {
  readonly operation: string
  readonly inFlight: number
  readonly store: Spread
  /** By name; `times` is how much longer the store takes, by the ratios within a round. */
  readonly raw: Record<string, { readonly rate: Spread; readonly times: Spread }>
}

const rows: StoreRow[] = []
/** Does so many operations side by side, and resolves when all are done. */
type Burst = (inFlight: number) => Promise<unknown> | undefined

const dist = (path: string): Promise<unknown> => import(`../dist/${path}` as string)
const { RocksDBStore: Store } = (await dist('store/rocksdb/rocksdb-store.js')) as {
  RocksDBStore: typeof RocksDBStore
}
const { openDatabase: connect } = (await dist('store/rocksdb/engine/database.js')) as {
  openDatabase: typeof openDatabase
}
const { encodeRecord } = (await dist('store/format/record-codec.js')) as {
  encodeRecord(record: LiveRecord, key: Buffer): Buffer
}
const { recordKey } = (await dist('store/format/keys.js')) as {
  recordKey(handle: string): Buffer
}
const { handleOf } = (await dist('record/handle.js')) as { handleOf(id: string): string }

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const ids = Array.from({ length: SESSIONS }, (_, number) => idOf(number))
const folders: string[] = []

async function temporary(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sled-bench-'))
  folders.push(folder)
  return folder
}

async function openStore(durability: Durability, cacheBytes: number): Promise<RocksDBStore> {
  const folder = await temporary()
  const store = new Store({
    connect: () => connect(folder, 'session', MEMTABLE_BYTES),
    durability,
    cacheBytes
  })
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  await store.open({ now: Date.now, log })
  return store
}

async function fill(store: RocksDBStore): Promise<LiveRecord[]> {
  const now = Date.now()
  const records = ids.map((id) => {
    const record = store.create({
      handle: handleOf(id),
      createdAt: now,
      lastSeenAt: now,
      expiresAt: now + 86_400_000
    })
    record.apply('profile', JSON.stringify(PROFILE))
    record.apply('counter', '1000')
    return record
  })
  await Promise.all(records.map((record) => store.save(record, null)))
  return records
}

let turn = 0
const nextIndex = (): number => {
  turn = (turn + 1) % SESSIONS
  return turn
}

/** Operations per second. */
async function rate(burst: Burst, inFlight: number): Promise<number> {
  const begun = performance.now()
  const end = begun + SECONDS * 1000
  let done = 0
  while (performance.now() < end) {
    // A look at the clock costs more than a look into the cache.
    for (let count = 0; count < 16; count++) await burst(inFlight)
    done += 16 * inFlight
  }
  return (done / (performance.now() - begun)) * 1000
}

/** Rounds alternate, so that whatever else the machine does befalls all alike. */
async function compare(title: string, inFlight: number, bursts: Record<string, Burst>) {
  const rates: Record<string, number[]> = {}
  for (const burst of Object.values(bursts)) await rate(burst, inFlight)
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, burst] of Object.entries(bursts)) {
      rates[name] ??= []
      rates[name].push(await rate(burst, inFlight))
    }
  }
  const [[, ours] = ['', []], ...others] = Object.entries(rates)
  const raw = others.map(([name, other]) => {
    const times = ours.map((value, round) => (other[round] ?? Number.NaN) / value)
    return [name, { rate: spread(other), times: spread(times) }] as const
  })
  const row = { operation: title, inFlight, store: spread(ours), raw: Object.fromEntries(raw) }
  rows.push(row)
  console.log(JSON.stringify(row))
}

function openRaw(folder: string): Promise<{ db: RocksDatabase; close(): Promise<void> }> {
  return connect(folder, 'session', MEMTABLE_BYTES)
}

function rawWriters(
  db: RocksDatabase,
  entries: { key: Buffer; value: Buffer }[],
  sync: () => Promise<unknown>
): Record<string, Burst> {
  const put = async (count: number): Promise<void> => {
    const batch = db.write({ capacity: Math.max(16, count), autoDestroy: true })
    for (let at = 0; at < count; at++) {
      const { key, value } = entries[nextIndex()] as { key: Buffer; value: Buffer }
      batch.tryPut(key, value)
    }
    await batch.flush()
    await sync()
  }
  return {
    batched: put,
    each: (count) => Promise.all(Array.from({ length: count }, () => put(1)))
  }
}

/** The write-ahead log that is current; the memtable is so large that it stays that. */
async function openLog(db: RocksDatabase): Promise<FileHandle> {
  const { number } = await db.currentWalFile()
  return open(join(db.path, `${String(number).padStart(6, '0')}.log`), 'r+')
}

async function compareSaves(durability: Durability): Promise<void> {
  const store = await openStore(durability, 256 * 1024 * 1024)
  const records = await fill(store)
  const entries = records.map((record) => {
    const key = recordKey(record.handle)
    return { key, value: Buffer.from(encodeRecord(record, key)) }
  })
  const raw = await openRaw(await temporary())
  const log = durability === 'power' ? await openLog(raw.db) : null
  const sync = async (): Promise<void> => log?.datasync()
  const changes = new Map([['counter', '1000']])
  const save: Burst = (count) => {
    const saves: Promise<void>[] = []
    for (let at = 0; at < count; at++) {
      const record = records[nextIndex()] as LiveRecord
      record.apply('counter', '1000')
      saves.push(store.save(record, changes))
    }
    return Promise.all(saves)
  }
  for (const inFlight of [1, 8, 64]) {
    await compare(`save, ${durability}`, inFlight, { save, ...rawWriters(raw.db, entries, sync) })
  }
  await log?.close()
  await raw.close()
  await store.close()
}

function rawReaders(db: RocksDatabase, keys: Buffer[]): Record<string, Burst> {
  const get = (count: number): Promise<unknown> => {
    const batch = db.read({ capacity: Math.max(16, count), autoDestroy: true })
    const values: Promise<unknown>[] = []
    for (let at = 0; at < count; at++) values.push(batch.get(keys[nextIndex()] as Buffer))
    batch.tryFlush()
    return Promise.all(values)
  }
  return {
    batched: get,
    each: (count) => Promise.all(Array.from({ length: count }, () => get(1)))
  }
}

/** The same in both; what is in memory is up to the store from here on. */
async function fillBoth(store: RocksDBStore, db: RocksDatabase): Promise<Buffer[]> {
  const batch = db.write({ autoDestroy: true })
  const keys = (await fill(store)).map((record) => {
    const key = recordKey(record.handle)
    batch.tryPut(key, Buffer.from(encodeRecord(record, key)))
    return key
  })
  await batch.flush()
  return keys
}

async function compareReads(cacheBytes: number, title: string, inFlights: number[]): Promise<void> {
  const store = await openStore('process', cacheBytes)
  const raw = await openRaw(await temporary())
  const keys = await fillBoth(store, raw.db)
  // A record that was evicted comes back as it is for as long as it has not been collected.
  collectGarbage()
  const load: Burst = (count) => {
    const loads: Promise<unknown>[] = []
    for (let at = 0; at < count; at++) {
      const loaded = store.load(ids[nextIndex()] as string)
      if (loaded instanceof Promise) loads.push(loaded)
    }
    return loads.length === 0 ? undefined : Promise.all(loads)
  }
  for (const inFlight of inFlights) {
    await compare(title, inFlight, { load, ...rawReaders(raw.db, keys) })
  }
  await raw.close()
  await store.close()
}

try {
  await compareReads(256 * 1024 * 1024, 'get, hot', [1, 8, 64])
  await compareReads(1, 'get, cold', [1, 8, 64])
  await compareSaves('process')
  await compareSaves('power')
  const results = fileURLToPath(new URL('results/', import.meta.url))
  await mkdir(results, { recursive: true })
  const date = new Date().toISOString().slice(0, 10)
  const about = { date, machine: machine(), sessions: SESSIONS, rows }
  await writeFile(`${results}store.json`, `${JSON.stringify(about, null, 2)}\n`)
} finally {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
}
