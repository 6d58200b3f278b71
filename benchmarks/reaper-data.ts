import { hash } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { handleOf } from '../lib/record/handle.js'
import type { SessionRecord } from '../lib/record/record.js'
import { handleIn, principalKey, recordRange } from '../lib/store/format/keys.js'
import { decodeRecord } from '../lib/store/format/record-codec.js'
import type { RocksDatabase } from '../lib/store/rocksdb/engine/binding.js'
import { type OpenColumnFamily, openDatabase } from '../lib/store/rocksdb/engine/database.js'
import { RocksDBStore } from '../lib/store/rocksdb/rocksdb-store.js'

const MIB = 1024 * 1024
const DAY = 86_400_000
const GROUP = 2000
const PROFILE = JSON.stringify('x'.repeat(400))
const SILENT = { debug() {}, info() {}, warn() {}, error() {} }

/** The id of the n-th session of a benchmark. */
export function sessionId(index: number): string {
  return hash('sha256', `benchmark ${index}`, 'buffer').toString('base64url')
}

/** A store on a folder as the plugin opens it, and its column family to look into. */
export interface OpenStore {
  readonly store: RocksDBStore
  readonly db: RocksDatabase
}

/** With a small cache: who is past their time has not been here for long. */
export async function openStore(folder: string, now: () => number): Promise<OpenStore> {
  let opened: OpenColumnFamily | undefined
  const connect = async (): Promise<OpenColumnFamily> => {
    opened = await openDatabase(folder, 'session', 16 * MIB)
    return opened
  }
  const store = new RocksDBStore({ connect, cacheBytes: MIB })
  await store.open({ now, log: SILENT })
  return { store, db: (opened as OpenColumnFamily).db }
}

/** Stores sessions of 400 bytes and a counter, with deadlines over a day from the one given. */
export async function load(
  store: RocksDBStore,
  first: number,
  count: number,
  deadline: number
): Promise<void> {
  for (let at = first; at < first + count; at += GROUP) {
    const size = Math.min(GROUP, first + count - at)
    const records = Array.from({ length: size }, (_, index) => record(store, at + index, deadline))
    await Promise.all(records.map((made) => store.save(made, null)))
  }
}

/** Resolves when RocksDB has tidied up what was loaded. */
export async function settled(db: RocksDatabase): Promise<void> {
  const busy = ['compaction-pending', 'num-running-compactions', 'num-running-flushes']
  for (;;) {
    const values = await Promise.all(busy.map((name) => db.getProperty(`rocksdb.${name}`)))
    if (values.every((value) => value === '0')) return
    await setTimeout(100)
  }
}

function record(store: RocksDBStore, index: number, deadline: number): SessionRecord {
  const spread = (index * 7919) % DAY
  const made = store.create({
    handle: handleOf(sessionId(index)),
    createdAt: 0,
    lastSeenAt: 0,
    expiresAt: deadline + spread
  })
  made.principal = `user ${index}`
  made.apply('counter', '1')
  made.apply('profile', PROFILE)
  return made
}

/**
 * What tower-sessions-sled-store does: looks at each record there is, and deletes those that are
 * past their time. What the expiry index has of them is not its work: the next run of the reaper
 * clears that away.
 */
export async function scan(db: RocksDatabase, now: number): Promise<number> {
  let deleted = 0
  for await (const { key, value } of db.iterator(recordRange(), { capacity: 1024 })) {
    const handle = handleIn(key)
    const { expiresAt, principal } = decodeRecord(handle, value, key)
    if (expiresAt > now) continue
    const batch = db.write({ autoDestroy: true })
    batch.tryDelete(key)
    if (principal !== null) batch.tryDelete(principalKey(principal, handle))
    await batch.flush()
    deleted++
  }
  return deleted
}
