import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { deserialize, serialize } from 'node:v8'
import type { LiveRecord } from '../lib/store/rocksdb/live-record.js'
import { machine } from './report.js'
import { spread } from './statistics.js'

/**
 * Ways to write a session's record, on shapes as sessions have them. All have the session's
 * values, its times, and whose it is; ours has a checksum beside.
 *
 * A save encodes only what the request has set, and the record's other values are text already:
 * so the record of all others is timed from objects, and ours from text, as each would be used. Writes `results/codecs.json`, of which `bench:tables` makes a table.
 */
const dist = (path: string): Promise<unknown> => import(`../dist/${path}` as string)
const { decodeRecord, encodeRecord } = (await dist('store/format/record-codec.js')) as {
  encodeRecord(record: LiveRecord, key: Buffer): Buffer
  decodeRecord(handle: string, bytes: Buffer, key: Buffer): LiveRecord
}
const { LiveRecord: Live } = (await dist('store/rocksdb/live-record.js')) as {
  LiveRecord: typeof LiveRecord
}
const { recordKey } = (await dist('store/format/keys.js')) as {
  recordKey(handle: string): Buffer
}
const { pack, unpack } = (await import('msgpackr' as string)) as {
  pack(value: unknown): Buffer
  unpack(bytes: Buffer): unknown
}

const SHAPES: Record<string, Record<string, unknown>> = {
  counter: { counter: 1000 },
  login: {
    user: { id: 48213, name: 'Ada Lovelace', roles: ['editor', 'reviewer'] },
    csrf: 'k'.repeat(32),
    seenAt: 1_764_000_000_000,
    flash: { info: ['Saved.'] }
  },
  cart: {
    items: Array.from({ length: 30 }, (_, n) => ({
      sku: `SKU-${1000 + n}`,
      name: 'A thing with a rather long name',
      price: 19.9 + n,
      count: 1 + (n % 3)
    }))
  }
}

export interface CodecRow {
  readonly session: string
  readonly codec: string
  /** CPU time for each call, in µs. */
  readonly encode: number
  readonly decode: number
  readonly bytes: number
}

const ROUNDS = 9
const CALLS = 50_000

function time(call: () => unknown): number {
  const rounds: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    // CPU time, of which the garbage collector's is a part.
    const before = process.cpuUsage()
    for (let count = 0; count < CALLS; count++) call()
    const { user, system } = process.cpuUsage(before)
    rounds.push((user + system) / CALLS)
  }
  return Number(spread(rounds).median.toFixed(2))
}

const rows: CodecRow[] = []
for (const [shape, data] of Object.entries(SHAPES)) {
  const times = { createdAt: 1_764_000_000_000, lastSeenAt: 1_764_000_100_000, expiresAt: 1.8e12 }
  const record = new Live({ handle: 'h'.repeat(42).concat('A'), ...times })
  for (const [key, value] of Object.entries(data)) record.apply(key, JSON.stringify(value))
  const key = recordKey(record.handle)
  const whole = { ...times, principal: null, data }
  const codecs: [string, () => Buffer, (bytes: Buffer) => unknown][] = [
    ['ours', () => encodeRecord(record, key), (bytes) => decodeRecord(record.handle, bytes, key)],
    ['JSON', () => Buffer.from(JSON.stringify(whole)), (bytes) => JSON.parse(bytes.toString())],
    ['msgpackr', () => Buffer.from(pack(whole)), unpack],
    ['v8.serialize', () => serialize(whole), deserialize]
  ]
  for (const [name, encode, decode] of codecs) {
    const bytes = encode()
    rows.push({
      session: shape,
      codec: name,
      encode: time(encode),
      decode: time(() => decode(bytes)),
      bytes: bytes.length
    })
  }
}
console.table(rows)
const result = { date: new Date().toISOString().slice(0, 10), machine: machine(), rows }
const file = fileURLToPath(new URL('results/codecs.json', import.meta.url))
await writeFile(file, `${JSON.stringify(result, null, 2)}\n`)
