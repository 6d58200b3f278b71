import { deepStrictEqual } from 'node:assert'
import fc from 'fast-check'
import { test } from 'tap'
import { decodeValue, encodeValue, isMutable } from '../../lib/record/value.js'

const MAX_NODES = 65_536

const { value: anyValue } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    fc.jsonValue(),
    fc.double(),
    fc.constantFrom(undefined, Number.NaN, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
    fc.string({ unit: 'binary' }),
    fc.bigInt(),
    fc.date(),
    fc.uint8Array().map((bytes) => new Uint8Array(bytes)),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.array(tie('value'), { maxLength: 5 }).map((items) => new Set(items)),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 5 }).map((pairs) => new Map(pairs)),
    fc.dictionary(
      fc.oneof(fc.string(), fc.constant('__proto__'), fc.constant('constructor')),
      tie('value')
    )
  )
}))

test('every storable value comes back exactly', async (t) => {
  fc.assert(
    fc.property(anyValue, (value) => {
      const text = encodeValue('key', value, MAX_NODES)
      deepStrictEqual(normal(decodeValue(text)), normal(value))
      // What decodes to the same must encode to the same, or unchanged values would be saved again.
      deepStrictEqual(encodeValue('key', decodeValue(text), MAX_NODES), text)
    }),
    { numRuns: 2000 }
  )
  t.pass('2,000 values')
})

/** Objects without a prototype come back as plain ones, so compare objects as their entries. */
function normal(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(normal)
  if (value instanceof Map) {
    return new Map([...value].map(([key, item]) => [normal(key), normal(item)]))
  }
  if (value instanceof Set) return new Set([...value].map(normal))
  // Two invalid dates are not deeply equal on Node 20.
  if (value instanceof Date) return ['date', value.getTime()]
  if (value instanceof Uint8Array) return value
  return ['object', Object.entries(value).map(([key, item]) => [key, normal(item)])]
}

test('values that JSON holds are stored as JSON', async (t) => {
  for (const value of [1, 'a', true, null, [1, 'x'], { a: { b: [] } }]) {
    t.equal(encodeValue('key', value, MAX_NODES), JSON.stringify(value))
  }
})

test('data that looks like our own tags is not mistaken for them', async (t) => {
  for (const value of [[7, 0], '![7,0]', { 0: 7 }, [[6, '1'], new Date(1)], ['!', Number.NaN]]) {
    t.strictSame(decodeValue(encodeValue('key', value, MAX_NODES)), value)
  }
})

test('a key named __proto__ is data and touches no prototype', async (t) => {
  for (const json of ['{"__proto__":{"admin":true}}', '{"a":{"__proto__":{"admin":true}},"n":1}']) {
    const value: unknown = JSON.parse(json)
    for (const stored of [value, [value, Number.NaN]]) {
      const decoded = decodeValue(encodeValue('key', stored, MAX_NODES))
      t.equal(JSON.stringify(decoded), JSON.stringify(stored))
      t.notOk('admin' in {}, 'the prototype of all objects is as it was')
      t.notOk('admin' in Object(Array.isArray(decoded) ? decoded[0] : decoded))
    }
  }
})

test('holes in arrays become undefined, as reading them gives', async (t) => {
  const sparse: unknown[] = [1]
  sparse[2] = 3
  t.strictSame(decodeValue(encodeValue('key', sparse, MAX_NODES)), [1, undefined, 3])
})

test('dates keep being invalid, and typed arrays keep their kind and window', async (t) => {
  const invalid = decodeValue(encodeValue('key', new Date(Number.NaN), MAX_NODES))
  t.ok(invalid instanceof Date && Number.isNaN(invalid.getTime()))
  const window = new Uint8Array([9, 1, 2, 9]).subarray(1, 3)
  t.strictSame(decodeValue(encodeValue('key', window, MAX_NODES)), new Uint8Array([1, 2]))
  t.ok(Buffer.isBuffer(decodeValue(encodeValue('key', Buffer.from('a'), MAX_NODES))))
})

test('what cannot be stored is refused, wherever it is, by an error that names the key', async (t) => {
  const circular: Record<string, unknown> = {}
  circular.self = circular
  let deep: unknown = 1
  for (let level = 0; level < 101; level++) deep = [deep]
  const refused: [string, unknown][] = [
    ['function', () => {}],
    ['symbol', Symbol('s')],
    ['circular', circular],
    ['deeper', deep],
    ['instance of URL', new URL('http://x')],
    ['instance of Date2', new (class Date2 {})()],
    ['instance of a class', Object.create(Object.create(null))],
    ['symbol as a key', { [Symbol('s')]: 1 }],
    ['instance of Float64Array', new Float64Array(1)],
    ['instance of Promise', Promise.resolve()],
    ['instance of Basket', new (class Basket extends Array {})()],
    ['instance of Basket', new (class Basket extends Map {})()],
    ['instance of Basket', new (class Basket extends Set {})()],
    ['instance of Day', new (class Day extends Date {})()],
    ['instance of Bytes', new (class Bytes extends Uint8Array {})()]
  ]
  for (const [problem, value] of refused) {
    for (const place of [value, [value], { a: value }, new Map([[1, value]]), new Set([value])]) {
      t.throws(() => encodeValue('profile', place, MAX_NODES), {
        code: 'SLED_SESSION_VALUE_NOT_STORABLE',
        message: new RegExp(`"profile".*(${problem}|circular)`)
      })
    }
  }
  t.throws(() => encodeValue('k', new Map([[() => {}, 1]]), MAX_NODES), { message: /function/ })
})

test('shared references cannot make the walk endless', async (t) => {
  let bomb: unknown = ['x']
  for (let level = 0; level < 60; level++) bomb = [bomb, bomb]
  t.throws(() => encodeValue('key', bomb, MAX_NODES), { code: 'SLED_SESSION_TOO_LARGE' })
})

test('isMutable tells objects from what cannot change in place', async (t) => {
  for (const value of [{}, [], new Date(), new Map(), [undefined]]) {
    t.ok(isMutable(encodeValue('key', value, MAX_NODES)))
  }
  for (const value of [1, 'x', '{}', null, true]) {
    t.notOk(isMutable(encodeValue('key', value, MAX_NODES)))
  }
})
