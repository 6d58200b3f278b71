import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  loadBinding,
  type RocksBinding,
  type RocksDatabase
} from '../lib/store/rocksdb/engine/binding.js'
import { folderSize } from '../lib/store/rocksdb/engine/engine-stats.js'
import { settled } from './reaper-data.js'
import { machine } from './report.js'
import { spread } from './statistics.js'

/**
 * What RocksDB's settings do for small hot records: each variant differs from what the store
 * uses in one setting.
 *
 *     npm run bench:settings
 */
const MIB = 1024 * 1024
const RECORDS = 300_000
const RECORD_BYTES = 450
const GROUP = 100
const READS = 20_000
const READS_AT_ONCE = 20
const ROUNDS = 5

/** As in `database.ts`, for the default of 96 MiB. */
const CHOSEN = {
  writeBufferSize: 16 * MIB,
  maxWriteBufferNumber: 2,
  blockCache: false,
  tableCacheIndexAndFilterBlocks: false,
  tableBlockSize: 4096
}

const VARIANTS: Record<string, (binding: Binding) => object> = {
  'as chosen': () => ({}),
  'memtables of 4 MiB': () => ({ writeBufferSize: 4 * MIB }),
  'memtables of 32 MiB': () => ({ writeBufferSize: 32 * MIB }),
  'blocks of 2 KiB': () => ({ tableBlockSize: 2048 }),
  'blocks of 8 KiB, the default': () => ({ tableBlockSize: 8192 }),
  'no Bloom filter': () => ({ filterPolicy: null }),
  'a Ribbon filter': ({ RibbonFilterPolicy }) => ({ filterPolicy: new RibbonFilterPolicy(10) }),
  '32 MiB of block cache': () => ({ blockCache: true, tableCacheIndexAndFilterBlocks: true })
}

type Binding = RocksBinding & { RibbonFilterPolicy: new (bits: number) => object }

const keys = Array.from({ length: RECORDS }, () => randomBytes(33))
const unknown = Array.from({ length: READS }, () => randomBytes(33))

async function fill(db: RocksDatabase): Promise<number> {
  const start = performance.now()
  for (let at = 0; at < RECORDS; at += GROUP) {
    const batch = db.write({ capacity: GROUP, autoDestroy: true })
    for (const key of keys.slice(at, at + GROUP)) batch.tryPut(key, randomBytes(RECORD_BYTES))
    await batch.flush()
  }
  return ((performance.now() - start) * 1000) / RECORDS
}

/** In µs a read, with some in flight. */
async function read(db: RocksDatabase, wanted: (index: number) => Buffer): Promise<number> {
  const start = performance.now()
  for (let at = 0; at < READS; at += READS_AT_ONCE) {
    const batch = db.read({ capacity: READS_AT_ONCE, autoDestroy: true })
    const reads = Array.from({ length: READS_AT_ONCE }, (_, index) => batch.get(wanted(at + index)))
    batch.tryFlush()
    await Promise.all(reads)
  }
  return ((performance.now() - start) * 1000) / READS
}

async function measure(binding: Binding, variant: (binding: Binding) => object) {
  const path = await mkdtemp(join(tmpdir(), 'sled-settings-'))
  const family = new binding.ColumnFamily('session', { ...CHOSEN, ...variant(binding) })
  const root = new binding(path, { columnFamilies: [family], maxBackgroundJobs: 2 })
  await root.ready()
  const db = root.columnFamily(family)
  try {
    const write = await fill(db)
    await db.flush()
    await settled(db)
    const known: number[] = []
    const missing: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const drawn = (): Buffer => keys[Math.floor(Math.random() * RECORDS)] as Buffer
      known.push(await read(db, drawn))
      missing.push(await read(db, (index) => unknown[index] as Buffer))
    }
    return { write, known: spread(known), missing: spread(missing), disk: await folderSize(path) }
  } finally {
    await db.close()
    await root.close()
    await rm(path, { recursive: true, force: true })
  }
}

const binding = (await loadBinding()) as Binding
const variants: Record<string, Awaited<ReturnType<typeof measure>>> = {}
for (const [name, variant] of Object.entries(VARIANTS)) {
  variants[name] = await measure(binding, variant)
  console.log(name, JSON.stringify(variants[name]))
}
const folder = fileURLToPath(new URL('results/', import.meta.url))
await mkdir(folder, { recursive: true })
const result = {
  date: new Date().toISOString().slice(0, 10),
  machine: machine(),
  records: RECORDS,
  variants
}
await writeFile(`${folder}settings.json`, `${JSON.stringify(result, null, 2)}\n`)
