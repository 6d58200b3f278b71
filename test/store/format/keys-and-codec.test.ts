import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { test } from 'tap'
import { atDateTime, onInactivity, onSessionEnd } from '../../../lib/index.js'
import { IndexedRecord } from '../../../lib/store/format/indexed-record.js'
import {
  dueRange,
  expiryKey,
  kindOf,
  META_KEY,
  parseExpiryKey,
  parsePartKey,
  parsePrincipalKey,
  partKey,
  partRange,
  principalKey,
  principalRange,
  quarantinedPartKey,
  quarantineKey,
  recordKey,
  recordRange
} from '../../../lib/store/format/keys.js'
import { writeParts } from '../../../lib/store/format/parts.js'
import {
  decodeOutline,
  decodeRecord,
  encodeRecord,
  partKeysOf
} from '../../../lib/store/format/record-codec.js'

const handle = () => randomBytes(32).toString('base64url')
const anyHandle = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('base64url'))
const anyTime = fc.integer({ min: 0, max: 8_640_000_000_000_000 })
const anyText = fc.string({ unit: 'binary' })

function within(key: Buffer, range: { gte: Buffer; lt: Buffer }): boolean {
  return Buffer.compare(key, range.gte) >= 0 && Buffer.compare(key, range.lt) < 0
}

test('expiry keys sort by time, and say their time and handle', async (t) => {
  fc.assert(
    fc.property(anyTime, anyTime, anyHandle, anyHandle, (a, b, one, other) => {
      const order = Math.sign(Buffer.compare(expiryKey(a, one), expiryKey(b, other)))
      const parsed = parseExpiryKey(expiryKey(a, one))
      return (
        (a === b || order === Math.sign(a - b)) && parsed.expiresAt === a && parsed.handle === one
      )
    })
  )
  t.pass()
})

test('the due range ends with this very millisecond', async (t) => {
  fc.assert(
    fc.property(anyTime, fc.integer({ min: -2, max: 2 }), anyHandle, (now, off, one) => {
      const at = Math.max(0, now + off)
      return within(expiryKey(at, one), dueRange(0, now)) === at <= now
    })
  )
  // Deadlines may have fractions of a millisecond, and are then due only when they have passed.
  t.notOk(within(expiryKey(5.5, handle()), dueRange(0, 5.4)))
  t.ok(within(expiryKey(5.5, handle()), dueRange(0, 6)))
})

test("a principal's range holds that user's sessions and no other's", async (t) => {
  fc.assert(
    fc.property(anyText, anyText, anyHandle, (ann, bob, one) => {
      const key = principalKey(ann, one)
      const well = ann.toWellFormed() === bob.toWellFormed()
      return (
        parsePrincipalKey(key) === one &&
        within(key, principalRange(ann)) &&
        (well || !within(key, principalRange(bob)))
      )
    })
  )
  t.pass()
})

test('the kinds of keys never meet', async (t) => {
  const one = handle()
  const keys = [
    META_KEY,
    recordKey(one),
    expiryKey(1, one),
    principalKey('a', one),
    quarantineKey(one),
    partKey(one, 2 ** 48 - 1),
    quarantinedPartKey(partKey(one, 1))
  ]
  t.same(
    keys.map((key) => key[0]),
    [0, 1, 2, 3, 4, 7, 4]
  )
  const kinds = keys.map((key) => kindOf(key))
  t.equal(new Set(kinds).size, keys.length)
  t.notOk(kinds.includes('unknown'))
  t.same(
    keys.map((key) => within(key, recordRange())),
    [false, true, false, false, false, false, false]
  )
  t.same(parsePartKey(partKey(one, 2 ** 48 - 1)), { handle: one, number: 2 ** 48 - 1 })
  t.ok(within(partKey(one, 0), partRange(one)) && within(partKey(one, 2 ** 48 - 1), partRange(one)))
  t.notOk(within(partKey(handle(), 1), partRange(one)))
})

const anyExpiry = fc.oneof(
  fc.constant(null),
  fc.constant(onSessionEnd()),
  fc.integer({ min: 1 }).map((ms) => onInactivity(ms)),
  fc.date({ noInvalidDate: true }).map((date) => atDateTime(date))
)

const anyRecord = fc
  .record({
    handle: anyHandle,
    times: fc.tuple(anyTime, anyTime, anyTime, anyTime),
    expiry: anyExpiry,
    principal: fc.option(fc.string({ unit: 'grapheme' })),
    metadata: fc.option(fc.string({ unit: 'grapheme' })),
    data: fc.array(fc.tuple(anyText, fc.string({ unit: 'grapheme' })))
  })
  .map(({ handle, times: [created, seen, expires, indexed], data, ...rest }) => {
    const record = Object.assign(
      new IndexedRecord({ handle, createdAt: created, lastSeenAt: seen, expiresAt: expires }),
      rest
    )
    record.indexedAt = indexed
    for (const [key, text] of data) record.apply(key, text)
    return record
  })

function content(record: IndexedRecord): unknown[] {
  const { handle, createdAt, lastSeenAt, expiresAt, indexedAt, expiry, principal, metadata } =
    record
  const { data, size } = record
  return [
    handle,
    createdAt,
    lastSeenAt,
    expiresAt,
    indexedAt,
    expiry,
    principal,
    metadata,
    [...data],
    size
  ]
}

test('every record comes back exactly', async (t) => {
  fc.assert(
    fc.property(anyRecord, (record) => {
      const key = recordKey(record.handle)
      const decoded = decodeRecord(record.handle, encodeRecord(record, key), key)
      t.strictSame(content(decoded), content(record))
      t.equal(decoded.indexedPrincipal, record.principal)
      return true
    }),
    { numRuns: 300 }
  )
})

const anyLongText = fc
  .tuple(fc.constantFrom('x', 'é', '👋'), fc.integer({ min: 1, max: 5000 }))
  .map(([unit, length]) => JSON.stringify(unit.repeat(length)))

test('so does one that keeps values apart, with these, and its outline without', async (t) => {
  fc.assert(
    fc.property(anyRecord, fc.array(fc.tuple(anyText, anyLongText)), (record, long) => {
      for (const [key, text] of long) record.apply(key, text)
      const key = recordKey(record.handle)
      const stored = new Map<string, Buffer>()
      const parts = writeParts(record, {
        put: (at, bytes) => stored.set(at.toString('hex'), Buffer.from(bytes)),
        remove: () => t.fail('there is nothing to remove')
      })
      const bytes = encodeRecord(record, key, parts)
      const keys = partKeysOf(record.handle, bytes, key)
      t.equal(keys.length, stored.size)
      const found = keys.map((at) => stored.get(at.toString('hex')) ?? null)
      const decoded = decodeRecord(record.handle, bytes, key, IndexedRecord, found)
      t.strictSame(content(decoded), content(record))
      t.strictSame(decoded.parts, parts)
      const outline = content(decodeOutline(record.handle, bytes, key))
      t.strictSame(outline.slice(0, -2), content(record).slice(0, -2))
      return true
    }),
    { numRuns: 200 }
  )
})

function sample(): { record: IndexedRecord; key: Buffer; bytes: Buffer } {
  const record = new IndexedRecord({ handle: handle(), createdAt: 1, lastSeenAt: 2, expiresAt: 3 })
  record.indexedAt = 3
  record.principal = 'ann'
  record.apply('counter', '1')
  record.apply('näme', '"é"')
  const key = recordKey(record.handle)
  return { record, key, bytes: encodeRecord(record, key) }
}

const corrupt = { code: 'SLED_SESSION_RECORD_CORRUPT' }

test('each flipped bit of a record is found', async (t) => {
  const { record, key, bytes } = sample()
  for (let at = 0; at < bytes.length * 8; at++) {
    const damaged = Buffer.from(bytes)
    damaged[at >> 3] = (damaged[at >> 3] ?? 0) ^ (1 << (at & 7))
    t.throws(() => decodeRecord(record.handle, damaged, key), corrupt)
  }
})

test('each flipped bit of a value that is kept apart is found, and of the record that has it', async (t) => {
  const { record, key } = sample()
  record.apply('long', JSON.stringify('x'.repeat(2046)))
  const parts: Buffer[] = []
  const kept = writeParts(record, {
    put: (_, bytes) => parts.push(Buffer.from(bytes)),
    remove: () => {}
  })
  const bytes = Buffer.from(encodeRecord(record, key, kept))
  const decode = (): unknown => decodeRecord(record.handle, bytes, key, IndexedRecord, parts)
  t.ok(decode())
  for (const damaged of [bytes, parts[0] ?? Buffer.alloc(0)]) {
    for (let at = 0; at < damaged.length * 8; at += 3) {
      damaged[at >> 3] = (damaged[at >> 3] ?? 0) ^ (1 << (at & 7))
      t.throws(decode, corrupt)
      damaged[at >> 3] = (damaged[at >> 3] ?? 0) ^ (1 << (at & 7))
    }
  }
  t.ok(decode())
  t.throws(() => decodeRecord(record.handle, bytes, key), corrupt)
})

test('a record that is cut short, or has something behind it, is found', async (t) => {
  const { record, key, bytes } = sample()
  for (let length = 0; length < bytes.length; length++) {
    t.throws(() => decodeRecord(record.handle, bytes.subarray(0, length), key), corrupt)
  }
  t.throws(
    () => decodeRecord(record.handle, Buffer.concat([bytes, Buffer.from([0])]), key),
    corrupt
  )
})

test("a record that got under another session's key does not decode", async (t) => {
  const { bytes } = sample()
  const other = handle()
  t.throws(() => decodeRecord(other, bytes, recordKey(other)), corrupt)
})

test('random bytes never decode', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), anyHandle, (bytes, one) => {
      t.throws(() => decodeRecord(one, Buffer.from(bytes), recordKey(one)), corrupt)
      return true
    }),
    { numRuns: 300 }
  )
})
