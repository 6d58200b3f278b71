import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { test } from 'tap'
import { atDateTime, type Expiry, onInactivity, onSessionEnd } from '../../../lib/record/expiry.js'
import { notesOf, RecordNotes } from '../../../lib/record/notes.js'
import { SESSION_NOTES } from '../../../lib/record/record.js'
import { writeParts } from '../../../lib/store/format/parts.js'
import { HandleIndex } from '../../../lib/store/rocksdb/handle-index.js'
import { LiveRecord } from '../../../lib/store/rocksdb/live-record.js'
import { PackedRecords } from '../../../lib/store/rocksdb/packed/packed-records.js'

const MIB = 1024 * 1024

/** @param start first bytes of the handle, which the index goes by */
function record(start: number[] = []): LiveRecord {
  const bytes = randomBytes(32)
  bytes.set(start)
  const made = new LiveRecord({
    handle: bytes.toString('base64url'),
    createdAt: 1000,
    lastSeenAt: 2000,
    expiresAt: 3000
  })
  made.indexedAt = 3000
  made.asked = true
  return made
}

function withText(made: LiveRecord, text: string): LiveRecord {
  made.apply('text', text)
  return made
}

/** What of a record is the cache's own, and begins anew with each object. */
const OF_THE_OBJECT = new Set<string>(['used', 'asked', 'queued', 'writing', 'cachedWeight', 'id'])
OF_THE_OBJECT.add('reference').add('next').add('previous')

function contentOf(one: LiveRecord): object {
  const entries = Object.entries(one).filter(([name]) => !OF_THE_OBJECT.has(name))
  return { ...Object.fromEntries(entries), notes: { ...notesOf(one) } }
}

const text = fc.string({ unit: 'grapheme', maxLength: 300 })
const time = fc.oneof(
  fc.maxSafeNat(),
  fc.double({ noNaN: true }),
  fc.integer({ min: 0, max: 2e12 })
)
const expiries: (Expiry | null)[] = [null, onSessionEnd(), onInactivity({ minutes: 30 })]
expiries.push(atDateTime(new Date(2e12)), onInactivity(0.5))

test('a record that was packed is what it was, with what sessions note of it', async (t) => {
  const content = fc.record({
    times: fc.array(time, { minLength: 7, maxLength: 7 }),
    expiry: fc.constantFrom(...expiries),
    principal: fc.option(text),
    metadata: fc.option(text),
    // As any string can be a key, halves of characters can.
    data: fc.array(fc.tuple(fc.string({ unit: 'binary', maxLength: 300 }), text), { maxLength: 5 }),
    // So long that it is kept apart.
    long: fc.array(fc.tuple(text, fc.integer({ min: 2048, max: 4000 })), { maxLength: 3 }),
    noted: fc.boolean()
  })
  fc.assert(
    fc.property(content, ({ times, expiry, principal, metadata, data, long, noted }) => {
      const made = record()
      ;[made.createdAt, made.lastSeenAt, made.expiresAt, made.indexedAt] = times as number[] as [
        number,
        number,
        number,
        number
      ]
      Object.assign(made, { expiry, principal, indexedPrincipal: principal, metadata })
      for (const [key, value] of data) made.apply(key, value)
      for (const [key, length] of long) made.apply(key, 'é'.repeat(length))
      made.parts = writeParts(made, { put() {}, remove() {} })
      if (noted) {
        const [storedSeenAt, storedExpiresAt, toldExpiresAt] = times.slice(4)
        Object.assign(notesOf(made), { storedSeenAt, storedExpiresAt, toldExpiresAt })
      }
      const packed = new PackedRecords(MIB)
      packed.put(made)
      const taken = packed.take(made.handle)
      if (taken === undefined) return false
      t.strictSame(contentOf(taken), contentOf(made))
      return t.passing()
    })
  )
})

test('what is packed is what was put last, and never what was taken, lent or deleted', async (t) => {
  const step = fc.record({
    what: fc.constantFrom('put', 'put', 'put', 'take', 'lend', 'delete'),
    which: fc.nat(39),
    size: fc.oneof(fc.nat(400), fc.nat(30_000))
  })
  for (const [limit, mayDrop] of [
    [64 * MIB, false],
    [200_000, true],
    [70_000, true],
    [10, true]
  ] as const) {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const packed = new PackedRecords(limit)
        // Half of them share what the index goes by.
        const records = Array.from({ length: 40 }, (_, at) => record(at < 20 ? [7, 7, 7, 7] : []))
        const model = new Map<string, string>()
        for (const [at, { what, which, size }] of steps.entries()) {
          const one = records[which] as LiveRecord
          const { handle } = one
          if (what === 'put') {
            const content = String(at).padEnd(size, 'x')
            packed.put(withText(one, content))
            model.set(handle, content)
          } else if (what === 'take') {
            const found = packed.take(handle)?.data.get('text')
            if (found !== model.get(handle) && !(mayDrop && found === undefined)) return false
            model.delete(handle)
          } else {
            if (what === 'lend') packed.lend(handle)
            else packed.delete(handle)
            model.delete(handle)
          }
          if (mayDrop ? packed.size > model.size : packed.size !== model.size) return false
          if (packed.bytes > Math.max(limit, 10_000)) return false
        }
        return true
      })
    )
  }
  t.pass()
})

test('all are found, however much memory they may take', async (t) => {
  for (const limit of [1, 16, 32, 33, 64, 1024].map((gib) => gib * 1024 * MIB)) {
    const packed = new PackedRecords(limit)
    const records = Array.from({ length: 300 }, () => withText(record(), 'x'.repeat(20_000)))
    for (const one of records) packed.put(one)
    const found = records.filter(({ handle }) => packed.take(handle)?.handle === handle)
    t.equal(found.length, 300, `${limit}`)
  }
})

test('what was asked for since the last round stays, and what was not makes room', async (t) => {
  const packed = new PackedRecords(MIB)
  const hot = Array.from({ length: 200 }, () => withText(record(), 'hot'.padEnd(400, 'x')))
  for (const one of hot) packed.put(one)
  const visit = (): number => {
    const found = hot.filter(({ handle }) => packed.take(handle) !== undefined)
    for (const one of found) packed.put(one)
    return found.length
  }
  let cold = 0
  for (; cold < 20_000; cold++) {
    packed.put(withText(record(), 'cold'.padEnd(400, 'x')))
    if (cold % 500 === 0) visit()
  }
  t.equal(visit(), 200)
  t.ok(packed.size > 1500, `it is full: ${packed.size}`)
  t.ok(packed.bytes < 1.01 * MIB)
})

test('a record that changes as sessions do stays in its place', async (t) => {
  const packed = new PackedRecords(MIB)
  const records = Array.from({ length: 1400 }, () => withText(record(), 'x'.repeat(500)))
  for (const one of records) packed.put(one)
  t.equal(packed.size, 1400)
  for (let counter = 0; counter < 30; counter++) {
    for (const { handle } of records) {
      const one = packed.take(handle)
      if (one === undefined) throw new Error('dropped')
      one.apply('counter', String(counter))
      packed.put(one)
    }
  }
  t.equal(packed.size, 1400, 'all are there still')
})

test('nothing is packed that is not what the store has', async (t) => {
  const cases: Record<string, Partial<LiveRecord>> = {
    failed: { failure: new Error('lost') },
    destroyed: { destroyed: true },
    'never stored, or about to be filed': { indexedAt: null },
    'not filed under its principal yet': { principal: 'ann' },
    'with a stored part that its data does not have': {
      parts: new Map([['long', { number: 1, checksum: 0, text: 'x' }]])
    },
    'with unsaved changes': {
      [SESSION_NOTES]: Object.assign(new RecordNotes(record()), { revision: 1 })
    }
  }
  for (const [name, change] of Object.entries(cases)) {
    const packed = new PackedRecords(MIB)
    const one = record()
    packed.put(one)
    t.equal(packed.size, 1)
    Object.assign(one, change)
    packed.put(one)
    t.equal(packed.take(one.handle), undefined, name)
  }
})

test('what nobody has asked for takes room that is free, and none of what others have', async (t) => {
  const packed = new PackedRecords(MIB)
  const asked = Array.from({ length: 1000 }, () => withText(record(), 'asked'.padEnd(400, 'x')))
  for (const one of asked) packed.put(one)
  const unasked = (): LiveRecord => {
    const one = withText(record(), 'unasked'.padEnd(400, 'x'))
    one.asked = false
    return one
  }
  for (let count = 0; count < 10_000; count++) packed.put(unasked(), MIB)
  const full = packed.size
  t.ok(full > 1800 && full < 2300, `it is full: ${full}`)
  t.equal(asked.filter(({ handle }) => packed.take(handle) !== undefined).length, 1000)

  // Those lose their places to others that are asked for, and these to nobody.
  const next = Array.from({ length: 1500 }, () => withText(record(), 'asked'.padEnd(400, 'x')))
  for (const one of next) packed.put(one)
  for (let count = 0; count < 10_000; count++) packed.put(unasked(), MIB)
  t.equal(next.filter(({ handle }) => packed.take(handle) !== undefined).length, 1500)
  for (const { handle } of next) packed.delete(handle)
  const left = packed.size
  for (let count = 0; count < 100; count++) packed.put(unasked(), MIB)
  t.ok(packed.size > left, 'and what is free again is for all')
})

test('the index finds each place by its hash, however they come and go', async (t) => {
  const step = fc.record({
    what: fc.constantFrom('add', 'add', 'remove', 'move'),
    place: fc.nat(99),
    // Of three segments, many of them side by side.
    hash: fc
      .tuple(fc.nat(2), fc.nat(20))
      .map(([segment, rest]) => segment * 0x100_0000 + rest * 0xc0000)
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const hashes = new Map<number, number>()
      const index = new HandleIndex({ hashAt: (place) => hashes.get(place) ?? Number.NaN }, 2 ** 20)
      let fresh = 1000
      for (const { what, place, hash } of steps) {
        const known = hashes.get(place)
        if (what === 'add' && known === undefined) {
          hashes.set(place, hash)
          index.add(hash, place)
        } else if (what === 'remove' && known !== undefined) {
          index.remove(known, place)
          hashes.delete(place)
        } else if (what === 'move' && known !== undefined) {
          const to = fresh++
          hashes.set(to, known)
          index.move(known, place, to)
          hashes.delete(place)
        }
        if (index.size !== hashes.size) return false
        for (const [at, itsHash] of hashes) {
          if (index.find(itsHash, (found) => found === at) !== at) return false
        }
        if (index.find(hash, () => false) !== -1) return false
      }
      return true
    })
  )
  t.pass()
})

test('a record that fits nowhere takes no memory to find that out', async (t) => {
  const packed = new PackedRecords(64 * MIB)
  const large = withText(record(), 'x'.repeat(30 * MIB))
  packed.put(withText(record(), 'x'.repeat(500_000)))
  t.equal(packed.size, 1, 'half a MiB is packed')
  const before = process.memoryUsage().arrayBuffers
  packed.put(large)
  t.equal(packed.size, 1)
  t.ok(process.memoryUsage().arrayBuffers - before < MIB)
})
