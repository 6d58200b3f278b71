import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { open } from 'lmdb'
import { type Test, test } from 'tap'
import { onInactivity } from '../../../lib/index.js'
import { LmdbStore } from '../../../lib/lmdb.js'
import { decodeRecord } from '../../../lib/store/format/record-codec.js'
import { cookieOf, createApp, listen, TestClock } from '../../support/app.js'
import { temporaryFolder } from '../../support/lmdb.js'
import { root } from '../../support/snippets.js'

const HOUR = 3_600_000
const VERSION_BYTES = 8
const BINARY = { encoding: 'binary', keyEncoding: 'binary' } as const

interface Row {
  readonly table: string
  readonly byte: number
  readonly keyBytes: number
  readonly hasVersion: boolean
}

/** What the page says of each kind of entry, by the word that it has for it. */
async function readPage(): Promise<Map<string, Row>> {
  const page = await readFile(join(root, 'docs', 'format.md'), 'utf8')
  const [, after = ''] = page.split('| Table | First byte |')
  const rows = after.slice(0, after.indexOf('\n\n')).trim().split('\n').slice(2)
  return new Map(
    rows.map((row) => {
      const [table = '', byte, entry = '', keyBytes, version] = row
        .split('|')
        .slice(1)
        .map((cell) => cell.trim().replaceAll('`', ''))
      const hasVersion = version === 'yes'
      return [
        entry.split(':')[0] ?? '',
        { table, byte: Number(byte), keyBytes: Number(keyBytes), hasVersion }
      ]
    })
  )
}

/** A session that was renewed, and one under which a lease is held. */
async function storeSome(t: Test): Promise<{ path: string; ids: string[]; now: number }> {
  const path = await temporaryFolder(t)
  const clock = new TestClock()
  const store = new LmdbStore({ path })
  const app = await createApp(t, { store, now: clock.now })
  app.get('/', async ({ session }) => {
    session.expiry = onInactivity({ hours: 2 })
    session.set('counter', 5)
  })
  app.get('/login', async ({ session }) => session.setPrincipal('Zoë', { keep: true }))
  const url = await listen(app)
  const first = cookieOf(await fetch(url)) ?? ''
  const second = cookieOf(await fetch(`${url}/login`, { headers: { cookie: first } })) ?? ''
  await store.takeLease('turn', 'somebody', HOUR)
  await app.close()
  const ids = [first, second].map((cookie) => cookie.slice('id='.length))
  return { path, ids, now: clock.time }
}

const time = (at: number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(at))
  return bytes
}

test('each entry is where and as the page says', async (t) => {
  const { path, ids, now } = await storeSome(t)
  const page = await readPage()
  const [old, handle] = ids.map((id) => hash('sha256', id, 'buffer')) as [Buffer, Buffer]
  const expected: Record<string, Buffer[]> = {
    record: [handle],
    'expiry index': [
      Buffer.concat([time(now + HOUR), old]),
      Buffer.concat([time(now + 2 * HOUR), handle])
    ],
    'principal index': [Buffer.concat([hash('sha256', 'Zoë', 'buffer'), handle])],
    successor: [old],
    meta: [Buffer.alloc(0)],
    quarantine: [],
    lease: [hash('sha256', 'turn', 'buffer')]
  }
  t.same([...page.keys()].sort(), Object.keys(expected).sort())

  const environment = open(path, { ...BINARY, noSubdir: false, readOnly: true })
  const found = new Map<string, Buffer>()
  for (const name of ['sessions', 'indexes', 'notes']) {
    const table = environment.openDB<Buffer, Buffer>(name, BINARY)
    for (const { key, value } of table.getRange({ start: Buffer.from([0]) })) {
      found.set(`${name} ${key.toString('hex')}`, Buffer.from(value))
    }
  }
  await environment.close()

  const takeValue = (entry: string, rest: Buffer): Buffer => {
    const { table, byte, keyBytes, hasVersion } = page.get(entry) as Row
    const key = Buffer.concat([Buffer.from([byte]), rest])
    t.equal(key.length, keyBytes, entry)
    const name = `${table} ${key.toString('hex')}`
    const value = found.get(name)
    t.ok(value !== undefined, `${entry} is there`)
    found.delete(name)
    return value?.subarray(hasVersion ? VERSION_BYTES : 0) ?? Buffer.alloc(0)
  }
  const values = new Map<string, Buffer>()
  for (const [entry, keys] of Object.entries(expected)) {
    for (const rest of keys) values.set(entry, takeValue(entry, rest))
  }
  t.equal(found.size, 0, 'nothing else is')

  t.equal(values.get('expiry index')?.length, 0)
  t.equal(values.get('principal index')?.length, 0)
  const key = Buffer.concat([Buffer.from([1]), handle])
  const record = decodeRecord(handle.toString('base64url'), values.get('record') as Buffer, key)
  t.same([...record.data], [['counter', '5']])
  t.equal(values.get('successor')?.readDoubleBE(0), now + HOUR)
  t.same(values.get('successor')?.subarray(8), handle)
  t.match(JSON.parse(String(values.get('meta'))), { format: 1 })
  const left =
    (values.get('lease')?.readDoubleBE(0) ?? 0) - Number(process.hrtime.bigint() / 1_000_000n)
  t.ok(left > 0 && left <= HOUR, 'by the clock of the machine')
  t.equal(values.get('lease')?.toString('ascii', 8), 'somebody')
})
