import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { test } from 'tap'
import { atDateTime, onInactivity, onSessionEnd } from '../../lib/index.js'
import {
  deadline,
  defaultTouchInterval,
  MAX_TIME,
  toMilliseconds
} from '../../lib/record/expiry.js'
import { createSessionId, handleOf, isSessionId } from '../../lib/record/handle.js'

test('ids are 256 random bits in base64url', async (t) => {
  const ids = Array.from({ length: 10_000 }, createSessionId)
  t.equal(new Set(ids).size, ids.length)
  t.ok(ids.every(isSessionId))
  const bytes = ids.map((id) => Buffer.from(id, 'base64url'))
  t.ok(bytes.every(({ length }) => length === 32))
  // Each of the 256 bits is set in about half of them: 500 is ten times the standard deviation.
  for (let bit = 0; bit < 256; bit++) {
    const set = bytes.filter((id) => ((id[bit >> 3] ?? 0) >> (bit & 7)) & 1).length
    if (Math.abs(set - 5000) > 500) t.fail(`bit ${bit} is set in ${set} of 10,000`)
  }
})

test('only what has the exact form of an id is taken for one', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) =>
      isSessionId(Buffer.from(bytes).toString('base64url'))
    )
  )
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => !isSessionId(text)))
  const id = createSessionId()
  for (const text of [
    id.slice(1),
    `${id}A`,
    `${id}\n`,
    ` ${id.slice(1)}`,
    `${id.slice(0, 42)}=`,
    `${id.slice(0, 42)}B`
  ]) {
    t.notOk(isSessionId(text), JSON.stringify(text))
  }
})

test('a handle is the SHA-256 of the id', async (t) => {
  const id = createSessionId()
  t.equal(handleOf(id), createHash('sha256').update(id).digest('base64url'))
})

const limits = { sessionEndLimit: 1000, absoluteTimeout: null }

test('deadlines follow the kind of expiry', async (t) => {
  t.equal(deadline(onInactivity(50), 0, 100, limits), 150)
  t.equal(deadline(onSessionEnd(), 0, 100, limits), 1100)
  t.equal(deadline(atDateTime(new Date(77)), 0, 100, limits), 77)
  t.equal(deadline(onInactivity(MAX_TIME), 0, 100, limits), MAX_TIME)
})

test('no deadline is past the absolute timeout', async (t) => {
  fc.assert(
    fc.property(
      fc.nat(),
      fc.nat(),
      fc.integer({ min: 1 }),
      fc.integer({ min: 1 }),
      (created, now, idle, absoluteTimeout) => {
        const bounded = { sessionEndLimit: idle, absoluteTimeout }
        return [onInactivity(idle), onSessionEnd(), atDateTime(new Date(idle))].every(
          (expiry) => deadline(expiry, created, now, bounded) <= created + absoluteTimeout
        )
      }
    )
  )
  t.pass()
})

test('the touch interval is a tenth of the lifetime, 60 s at most', async (t) => {
  t.equal(defaultTouchInterval(onInactivity({ seconds: 10 }), limits), 1000)
  t.equal(defaultTouchInterval(onInactivity({ days: 1 }), limits), 60_000)
  t.equal(defaultTouchInterval(onSessionEnd(), limits), 100)
  t.equal(defaultTouchInterval(atDateTime(new Date()), limits), 60_000)
})

test('durations add up their parts, and wrong ones are refused', async (t) => {
  t.equal(
    toMilliseconds({ days: 1, hours: 1, minutes: 1, seconds: 1, milliseconds: 1 }),
    90_061_001
  )
  t.equal(toMilliseconds(5), 5)
  for (const wrong of [
    0,
    -1,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    {},
    { seconds: -1 },
    { seconds: Number.NaN }
  ]) {
    t.throws(() => onInactivity(wrong), { code: 'SLED_SESSION_INVALID_EXPIRY' })
  }
  t.throws(() => onInactivity({ second: 1 } as object), { message: /"second".*seconds/ })
  t.throws(() => atDateTime(new Date(Number.NaN)), { code: 'SLED_SESSION_INVALID_EXPIRY' })
})
