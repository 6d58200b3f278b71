import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { type Test, test } from 'tap'
import { onInactivity, openSessionStore, SessionRecord } from '../../../lib/index.js'
import { encodeValue } from '../../../lib/record/value.js'
import { cookieOf, createApp, listen, TestClock, temporaryFolder } from '../../support/app.js'
import { readDatabase } from '../../support/rocksdb.js'
import { root } from '../../support/snippets.js'

/** The rows of the page's table whose first column has this name. */
async function tableOf(name: string): Promise<string[][]> {
  const page = await readFile(join(root, 'docs', 'format.md'), 'utf8')
  const tables = page.split('\n\n').filter((block) => block.startsWith('|'))
  const rows = tables.map((table) => table.trim().split('\n').map(cellsOf))
  return (rows.find(([head]) => head?.[0] === name) ?? []).slice(2)
}

function cellsOf(row: string): string[] {
  return row
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim().replaceAll('`', ''))
}

/** Reads the fixed fields of a record as the page's table says. */
async function readHeader(bytes: Buffer): Promise<Map<string, number>> {
  const fields = new Map<string, number>()
  for (const [offset = '', size = '', type = '', name = ''] of await tableOf('Offset')) {
    if (!/^\d+$/.test(offset) || !/^\d+$/.test(size)) continue
    const at = Number(offset)
    const value = type === 'double' ? bytes.readDoubleBE(at) : bytes.readUIntBE(at, Number(size))
    fields.set(name.split(/[,:]/)[0] ?? '', value)
  }
  return fields
}

/** Kept apart. */
const LONG = 'é'.repeat(2500)

async function storeOne(
  t: Test,
  values: Record<string, unknown> = { counter: 5, näme: 'é' }
): Promise<{ entries: [Buffer, Buffer][]; id: string; now: number }> {
  const path = await temporaryFolder(t)
  const clock = new TestClock()
  const app = await createApp(t, { path, now: clock.now })
  app.get('/', async ({ session }) => {
    session.expiry = onInactivity({ hours: 2 })
    await session.setPrincipal('Zoë', { metadata: 'phone' })
    for (const [key, value] of Object.entries(values)) session.set(key as 'counter', value as never)
  })
  const cookie = cookieOf(await fetch(await listen(app))) ?? ''
  await app.close()
  return { entries: await readDatabase(path), id: cookie.slice('id='.length), now: clock.time }
}

test('keys are as the page says', async (t) => {
  const { entries, id, now } = await storeOne(t, { counter: 5, long: LONG })
  const handle = hash('sha256', id, 'buffer')
  const time = Buffer.alloc(8)
  time.writeBigUInt64BE(BigInt(now + 7_200_000))
  const rest: Record<string, Buffer[]> = {
    meta: [],
    record: [handle],
    'expiry index: a session': [time, handle],
    'principal index': [hash('sha256', 'Zoë', 'buffer'), handle],
    part: [handle, Buffer.from([0, 0, 0, 0, 0, 1])]
  }
  const table = (await tableOf('First byte')).filter(([, entry = '']) => entry in rest)
  t.equal(table.length, 5)
  t.equal(entries.length, 5)
  for (const [index, [kind = '', entry = '', , size]] of table.entries()) {
    const key = Buffer.concat([Buffer.from([Number(kind)]), ...(rest[entry] ?? [])])
    t.same(entries[index]?.[0], key, entry)
    t.equal(key.length, Number(size))
  }
})

test('a group in the expiry index is as the page says', async (t) => {
  const path = await temporaryFolder(t)
  const clock = new TestClock()
  const store = await openSessionStore(path)
  const records = Array.from({ length: 3 }, (_, at) => {
    const handle = hash('sha256', `${at}`, 'buffer').toString('base64url')
    const start = { createdAt: clock.time, lastSeenAt: clock.time }
    return new SessionRecord({ handle, ...start, expiresAt: Date.now() + 3_600_000 + at })
  })
  await store.putRecords(records)
  await store.close()
  const entries = await readDatabase(path)
  const [[key, value]] = entries.filter(([first]) => first[0] === 2) as [[Buffer, Buffer]]
  const row = (await tableOf('First byte')).find(([, entry]) => entry === 'expiry index: a group')
  t.equal(key.length, Number(row?.[3]))
  t.equal(key.readBigUInt64BE(1), BigInt(records[0]?.expiresAt ?? 0))
  const handles = records.map(({ handle }) => Buffer.from(handle, 'base64url'))
  const end = 32 * handles.length
  t.same(value.subarray(0, end), Buffer.concat(handles))
  t.equal(value.length, end + 4)
  t.equal(value.readUInt32BE(end), crc32(Buffer.concat([key, value.subarray(0, end)])))
})

test('a record is as the page says', async (t) => {
  const { entries, now } = await storeOne(t)
  const [key, bytes] = entries.find(([first]) => first[0] === 1) ?? []
  if (key === undefined || bytes === undefined) throw new Error('no record')
  const header = await readHeader(bytes)
  t.same(
    [...header],
    [
      ['record version', 1],
      ['expiry', 2],
      ['created at', now],
      ['last seen at', now],
      ['expires at', now + 7_200_000],
      ['indexed at', now + 7_200_000],
      ['inactivity', 7_200_000],
      ['n', 2],
      ['length of the principal', 'Zoë'.length],
      ['length of the metadata', '"phone"'.length]
    ]
  )
  // 54 + 8 n: behind the lengths of two keys and values are the texts, and behind them the checksum.
  const lengths = [54, 58, 62, 66].map((at) => bytes.readUInt32BE(at))
  t.same(lengths, ['counter'.length, 1, 'näme'.length, '"é"'.length])
  const end = bytes.length - 4
  t.equal(bytes.toString('utf8', 54 + 8 * 2, end), 'Zoë"phone"counter5näme"é"')
  t.equal(bytes.readUInt32BE(end), crc32(Buffer.concat([key, bytes.subarray(0, end)])))
})

test('a record that keeps a value apart is as the page says', async (t) => {
  const { entries } = await storeOne(t, { counter: 5, long: LONG, last: 1 })
  const [key, bytes] = entries.find(([first]) => first[0] === 1) ?? []
  const [partKey, part] = entries.find(([first]) => first[0] === 7) ?? []
  if (key === undefined || bytes === undefined) throw new Error('no record')
  if (partKey === undefined || part === undefined) throw new Error('no part')
  t.equal((await readHeader(bytes)).get('record version'), 2)
  const lengths = [54, 58, 62, 66, 70, 74].map((at) => bytes.readUInt32BE(at))
  t.same(lengths, ['counter'.length, 1, 'long'.length, 0xffffffff, 'last'.length, 1])
  const at = 54 + 8 * 3
  t.equal(bytes.readUIntBE(at, 6), 1)
  t.equal(bytes.readUInt32BE(at + 6), crc32(Buffer.concat([partKey, part])))
  const end = bytes.length - 4
  t.equal(bytes.toString('utf8', at + 10, end), 'Zoë"phone"counter5longlast1')
  t.equal(bytes.readUInt32BE(end), crc32(Buffer.concat([key, bytes.subarray(0, end)])))
  t.equal(part.toString(), JSON.stringify(LONG))
})

test('each tag of a value is as the page says', async (t) => {
  const samples: Record<string, [value: unknown, then: unknown[]]> = {
    array: [[undefined], [[1]]],
    undefined: [undefined, []],
    NaN: [Number.NaN, []],
    Infinity: [Number.POSITIVE_INFINITY, []],
    '-Infinity': [Number.NEGATIVE_INFINITY, []],
    '-0': [-0, []],
    BigInt: [12n, ['12']],
    Date: [new Date(5), [5]],
    Map: [new Map([['a', 1]]), [['a', 1]]],
    Set: [new Set([1, 2]), [1, 2]],
    Uint8Array: [new Uint8Array([1]), ['AQ==']],
    Buffer: [Buffer.from([1]), ['AQ==']]
  }
  const table = await tableOf('Tag')
  t.equal(table.length, Object.keys(samples).length)
  for (const [tag, name = ''] of table) {
    const [value, then] = samples[name] ?? []
    t.equal(
      encodeValue('key', value, 100),
      `!${JSON.stringify([Number(tag), ...(then ?? [])])}`,
      name
    )
  }
})

test('the meta entry has the fields that the page names', async (t) => {
  const { entries } = await storeOne(t)
  const fields = (await tableOf('Field')).map(([name]) => name)
  t.same(fields, ['format', 'createdAt', 'migrating', 'migrated', 'copied', 'copy'])
  const meta = JSON.parse(String(entries[0]?.[1]))
  t.match(meta, { format: 2, createdAt: '2026-01-01T00:00:00.000Z' })
  t.ok(Object.keys(meta).every((name) => fields.includes(name)))
})
