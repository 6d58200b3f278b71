import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { test } from 'tap'
import { findCookie } from '../../../lib/http/cookie/header.js'
import { notesOf } from '../../../lib/record/notes.js'
import { RecordCache } from '../../../lib/store/rocksdb/cache.js'
import { LiveRecord } from '../../../lib/store/rocksdb/live-record.js'
import { addCounter, cookieOf, createApp, listen } from '../../support/app.js'
import { collectGarbage } from '../../support/garbage.js'

const turn = () => new Promise((resolve) => setImmediate(resolve))

async function turns(): Promise<void> {
  for (let count = 0; count < 200; count++) await turn()
}

function heapUsed(): number {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

function record(size = 0): LiveRecord {
  const made = new LiveRecord({
    handle: randomBytes(32).toString('base64url'),
    createdAt: 0,
    lastSeenAt: 0,
    expiresAt: 0
  })
  if (size > 0) made.apply('data', JSON.stringify('x'.repeat(size)))
  return made
}

test('it stays below its bytes, and drops what was not used first', async (t) => {
  const cache = new RecordCache(100 * record().weight)
  const records = Array.from({ length: 100 }, () => record())
  for (const one of records) cache.add(one)
  await turns()
  t.equal(cache.size, 100, 'all fit')

  for (const one of records) one.used = false
  const hot = records.slice(0, 30)
  for (const one of hot) one.used = true
  for (let index = 0; index < 50; index++) cache.add(record())
  await turns()
  t.ok(cache.bytes <= 100 * record().weight)
  t.equal(cache.size, 100)
  t.ok(
    hot.every((one) => cache.get(one.handle) === one),
    'what was used stays'
  )
})

test('neither first visits nor a walk push out what visitors come back to', async (t) => {
  const limit = 200 * record(400).weight
  const cache = new RecordCache(limit)
  const visit = (one: LiveRecord): void => {
    one.used = true
  }
  const regulars = Array.from({ length: 100 }, () => record(400))
  for (const one of regulars) cache.add(one)
  regulars.forEach(visit)
  for (let count = 0; count < 5000; count++) {
    const stranger = record(400)
    stranger.indexedAt = 0
    cache.add(stranger)
    if (count % 50 === 0) await turn()
    if (count === 2500) regulars.forEach(visit)
  }
  await turns()
  t.ok(cache.bytes <= limit)
  t.ok(
    regulars.every((one) => cache.get(one.handle) === one),
    'all of them are objects still'
  )
})

test('however many come in one turn, room is made for all of them', async (t) => {
  for (const { size, kept } of [
    { size: 400, kept: false },
    { size: 400, kept: true },
    { size: 20_000, kept: true }
  ]) {
    const limit = 2 * 1024 * 1024
    const cache = new RecordCache(limit)
    const regulars = Array.from({ length: 500 }, () => record(400))
    let most = 0
    for (let turns = 0; turns < 30; turns++) {
      for (let count = 0; count < 1000; count++) {
        const one = record(size)
        Object.assign(one, { asked: kept, indexedAt: 0 })
        cache.add(one)
        const regular = regulars[count % regulars.length] as LiveRecord
        if (cache.get(regular.handle) === undefined) cache.add(regular)
        else cache.hits++
        regular.used = true
      }
      await turn()
      most = Math.max(most, cache.bytes)
    }
    const inOneTurn = 1000 * record(size).weight + 500 * record(400).weight
    t.ok(most <= limit + inOneTurn, `${most} of ${size} bytes each`)
  }
})

test('few large records are packed in one turn', async (t) => {
  const cache = new RecordCache(8 * 1024 * 1024)
  const records = Array.from({ length: 256 }, () => record(60_000))
  for (const one of records) {
    Object.assign(one, { used: false, asked: true, indexedAt: 0, writing: 1 })
    cache.add(one)
  }
  await turns()
  // As when a disk that has hung goes on.
  for (const one of records) {
    one.writing = 0
    cache.weigh(one)
  }
  const objects = (): number => records.filter(({ handle }) => cache.get(handle)).length
  let most = 0
  for (let before = objects(); cache.bytes > 8 * 1024 * 1024; before = objects()) {
    await turn()
    most = Math.max(most, before - objects())
  }
  t.ok(most > 0 && most <= 20, `${most} of 256`)
  t.ok(cache.size > objects(), 'they are packed')
})

test('a record that is queued or being written is never dropped', async (t) => {
  const cache = new RecordCache(1)
  const [queued, writing, free] = [record(), record(), record()]
  queued.queued = true
  writing.writing = 1
  for (const one of [queued, writing, free]) cache.add(one)
  await turns()
  t.same(
    [queued, writing, free].map((one) => cache.get(one.handle) !== undefined),
    [true, true, false]
  )
  queued.queued = false
  cache.weigh(queued)
  await turns()
  t.equal(cache.get(queued.handle), undefined, 'and then it is')
})

test('a record that was dropped comes back as the same object for as long as somebody has it', async (t) => {
  const cache = new RecordCache(1)
  const kept = record()
  const { handle: gone } = (() => {
    const one = record()
    cache.add(one)
    return { handle: one.handle }
  })()
  cache.add(kept)
  await turns()
  collectGarbage()
  t.equal(cache.get(kept.handle), undefined)
  t.equal(cache.recall(kept.handle), kept)
  t.equal(cache.get(kept.handle), kept)
  t.equal(cache.recall(gone), undefined, 'and not for longer')
})

test('the sum of weights is exact, and both indexes agree, whatever happens', async (t) => {
  const step = fc.record({
    what: fc.constantFrom('add', 'grow', 'name', 'delete', 'turn', 'use'),
    which: fc.nat(9),
    size: fc.nat(5000)
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const cache = new RecordCache(10_000)
      const records = Array.from({ length: 10 }, () => record())
      for (const { what, which, size } of steps) {
        const one = records[which]
        if (one === undefined) continue
        const cached = cache.get(one.handle) === one
        if (what === 'add' && !cached) cache.add(one)
        if (what === 'grow') {
          one.apply('data', JSON.stringify('x'.repeat(size)))
          cache.weigh(one)
        }
        if (what === 'name' && cached) cache.nameId(one, `id ${which}`)
        if (what === 'delete') cache.delete(one)
        if (what === 'use') one.used = true
        if (what === 'turn') await turn()
        const inside = records.filter(({ handle }) => cache.get(handle) !== undefined)
        const sum = inside.reduce((total, { weight }) => total + weight, 0)
        if (cache.bytes !== sum || cache.size !== inside.length) return false
        const named = records.filter((_, index) => cache.getById(`id ${index}`) !== undefined)
        if (!named.every((known) => inside.includes(known))) return false
      }
      return true
    })
  )
  t.pass()
})

test('100,000 sessions of 500 bytes fit into the default memory, touched and counted', async (t) => {
  const cache = new RecordCache((2 / 3) * 96 * 1024 * 1024)
  const handles: string[] = []
  for (let count = 0; count < 100_000; count++) {
    const one = record(500)
    one.indexedAt = 0
    one.lastSeenAt = 5
    notesOf(one).storedSeenAt = 0
    cache.add(one)
    handles.push(one.handle)
    if (count % 100 === 0) await turn()
  }
  while (cache.bytes > cache.stats().limit) await turn()
  t.equal(cache.size, 100_000)
  let found = 0
  for (const handle of handles) {
    const one = cache.get(handle) ?? cache.recall(handle)
    if (one === undefined) continue
    one.used = true
    one.apply('counter', '1')
    cache.weigh(one)
    if (++found % 100 === 0) await turn()
  }
  t.equal(found, 100_000)
  while (cache.bytes > cache.stats().limit) await turn()
  t.equal(cache.size, 100_000, 'and still do when each has a counter')
})

test('ids that were cut out of long cookie headers do not keep those', async (t) => {
  const cache = new RecordCache(Number.MAX_SAFE_INTEGER)
  const before = heapUsed()
  for (let index = 0; index < 1000; index++) {
    const one = record()
    cache.add(one)
    // As Node has headers: a string of its own, from bytes.
    const header = Buffer.from(
      `id=${randomBytes(32).toString('base64url')}; x=${'x'.repeat(16_000)}`
    )
    const id = findCookie(header.toString('latin1'), 'id') as string
    cache.nameId(one, id)
    if (cache.getById(id) !== one) t.fail('the copy finds it as well')
  }
  t.ok(heapUsed() - before < 4 * 1024 * 1024, 'and not the 16 MB of the headers')
  t.equal(cache.size, 1000)
})

test('the weight of a record is near what it takes', async (t) => {
  for (const text of ['ascii'.repeat(100), 'ä'.repeat(500), '漢'.repeat(500)]) {
    const records: LiveRecord[] = []
    const before = heapUsed()
    for (let index = 0; index < 5000; index++) {
      const one = new LiveRecord({
        handle: randomBytes(32).toString('base64url'),
        createdAt: 0,
        lastSeenAt: 0,
        expiresAt: 0
      })
      for (const key of ['user', 'cart']) one.apply(key, Buffer.from(text).toString())
      records.push(one)
    }
    const taken = (heapUsed() - before) / records.length
    const { weight } = records[0] as LiveRecord
    t.ok(weight >= taken, `${weight} covers ${taken}`)
    t.ok(weight < 2.5 * taken, `${weight} is not far above ${taken}`)
  }
})

test('sessions that fell out of the cache come back from disk', async (t) => {
  const app = await createApp(t, { memory: 1024 * 1024 })
  app.get('/big', async (request) => request.session.set('data', 'x'.repeat(20_000)))
  app.get('/length', async (request) => request.session.get<string>('data')?.length)
  addCounter(app)
  const url = await listen(app)
  const cookies: string[] = []
  for (let index = 0; index < 60; index++) cookies.push(cookieOf(await fetch(`${url}/big`)) ?? '')
  for (const cookie of cookies) {
    const response = await fetch(`${url}/length`, { headers: { cookie } })
    if ((await response.text()) !== '20000') t.fail('lost')
  }
  t.equal(await app.sessions.count(), 60)
})
