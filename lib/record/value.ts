import { SessionTooLargeError, ValueNotStorableError } from '../errors.js'

/**
 * Session values as strings. A value that JSON can hold is its JSON. Anything else (Date, Map, Set,
 * BigInt, Uint8Array, undefined, NaN, infinities, -0) makes the whole value "rich": a `!` and then
 * JSON in which every array is tagged by its first element, so that no data can be mistaken for
 * a tag.
 */
const RICH_MARK = '!'

const Tag = {
  Array: 0,
  Undefined: 1,
  NaN: 2,
  Infinity: 3,
  NegativeInfinity: 4,
  NegativeZero: 5,
  BigInt: 6,
  Date: 7,
  Map: 8,
  Set: 9,
  Uint8Array: 10,
  Buffer: 11
} as const

const MAX_DEPTH = 100

interface Walk {
  readonly key: string
  readonly limit: number
  /** Every node takes at least a byte, so a value with more nodes than bytes allowed is too large. */
  bytesLeft: number
}

/**
 * Encodes a value as a string.
 *
 * @param key names the session key in errors
 * @param maxBytes bounds the walk, so that shared references cannot make it endless
 * @throws {ValueNotStorableError} for functions, symbols, circular references and class instances
 * @throws {SessionTooLargeError} if the string would surely have more than `maxBytes`
 */
export function encodeValue(key: string, value: unknown, maxBytes: number): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'number':
      if (Number.isFinite(value) && !Object.is(value, -0)) return String(value)
  }
  if (value === null) return 'null'
  const walk: Walk = { key, limit: maxBytes, bytesLeft: maxBytes }
  return isPlain(value, walk, 0) ? JSON.stringify(value) : RICH_MARK + JSON.stringify(toRich(value))
}

/** Decodes what `encodeValue` made. Objects are new at each call. */
export function decodeValue(encoded: string): unknown {
  return encoded.charCodeAt(0) === 33 // !
    ? fromRich(JSON.parse(encoded.slice(1)))
    : JSON.parse(encoded)
}

/** Whether an encoded value decodes to something that its holder could change in place. */
export function isMutable(encoded: string): boolean {
  const first = encoded.charCodeAt(0)
  return first === 33 || first === 91 || first === 123 // ! [ {
}

/** Checks that a value can be stored; true if JSON alone keeps it exactly. */
function isPlain(value: unknown, walk: Walk, depth: number): boolean {
  take(walk, 1)
  switch (typeof value) {
    case 'string':
      take(walk, value.length)
      return true
    case 'boolean':
      return true
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0)
    case 'bigint':
    case 'undefined':
      return false
    case 'object':
      if (value === null) return true
      if (depth === MAX_DEPTH) {
        refuse(walk, `it is circular or nested deeper than ${MAX_DEPTH} levels`)
      }
      return isPlainObject(value, walk, depth + 1)
    default:
      return refuse(walk, `it is or contains a ${typeof value}`)
  }
}

/** What comes back as it was; a class that extends one of them would come back without itself. */
const KINDS = new Set<object>(
  [Array, Date, Map, Set, Uint8Array, Buffer].map(({ prototype }) => prototype)
)

function isPlainObject(value: object, walk: Walk, depth: number): boolean {
  const prototype = Object.getPrototypeOf(value)
  if (!KINDS.has(prototype)) return isRecord(value, prototype, walk, depth)
  let plain = true
  if (Array.isArray(value)) {
    if ('toJSON' in value) refuse(walk, 'it is or contains an array with a method toJSON')
    for (const item of value) plain = isPlain(item, walk, depth) && plain
    return plain
  }
  if (value instanceof Uint8Array) take(walk, value.byteLength)
  if (value instanceof Date || value instanceof Uint8Array) return false
  if (value instanceof Map) {
    for (const [key, item] of value) {
      isPlain(key, walk, depth)
      isPlain(item, walk, depth)
    }
    return false
  }
  for (const item of value as Set<unknown>) isPlain(item, walk, depth)
  return false
}

function isRecord(value: object, prototype: object | null, walk: Walk, depth: number): boolean {
  let plain = true
  if (prototype !== Object.prototype && prototype !== null) {
    refuse(walk, `it is or contains an instance of ${className(prototype)}; store plain data`)
  }
  if (Object.getOwnPropertySymbols(value).length > 0) refuse(walk, 'it has a symbol as a key')
  for (const key of Object.keys(value)) {
    plain = isPlain((value as Record<string, unknown>)[key], walk, depth) && plain
  }
  return plain
}

/** A string that occurs in many places costs its length in each. */
function take(walk: Walk, bytes: number): void {
  walk.bytesLeft -= bytes
  if (walk.bytesLeft < 0) {
    throw tooLarge(walk.key, walk.limit)
  }
}

/** That there is no room for the value of a key, which is cut short: it may be as long as the rest. */
export function tooLarge(key: string, limit: number): Error {
  return new SessionTooLargeError(JSON.stringify(key.slice(0, 100)), limit)
}

function className(prototype: object): string {
  return prototype.constructor?.name || 'a class'
}

function refuse(walk: Walk, problem: string): never {
  throw new ValueNotStorableError(JSON.stringify(walk.key.slice(0, 100)), problem)
}

function toRich(value: unknown): unknown {
  if (typeof value === 'number') return richNumber(value)
  if (value === undefined) return [Tag.Undefined]
  if (typeof value === 'bigint') return [Tag.BigInt, value.toString()]
  if (typeof value !== 'object' || value === null) return value
  // Array.from and not map: a hole must become undefined, as reading it gives.
  if (Array.isArray(value)) return [Tag.Array, ...Array.from(value, toRich)]
  if (value instanceof Date) return [Tag.Date, value.getTime()]
  if (value instanceof Map) {
    return [Tag.Map, ...Array.from(value, ([key, item]) => [toRich(key), toRich(item)])]
  }
  if (value instanceof Set) return [Tag.Set, ...Array.from(value, toRich)]
  if (value instanceof Uint8Array) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    return [Buffer.isBuffer(value) ? Tag.Buffer : Tag.Uint8Array, bytes.toString('base64')]
  }
  // Without a prototype, a key named __proto__ is a key like any other.
  const rich: Record<string, unknown> = Object.create(null)
  for (const key of Object.keys(value)) {
    rich[key] = toRich((value as Record<string, unknown>)[key])
  }
  return rich
}

function richNumber(value: number): unknown {
  if (Number.isNaN(value)) return [Tag.NaN]
  if (value === Number.POSITIVE_INFINITY) return [Tag.Infinity]
  if (value === Number.NEGATIVE_INFINITY) return [Tag.NegativeInfinity]
  return Object.is(value, -0) ? [Tag.NegativeZero] : value
}

function fromRich(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return fromTagged(value as [number, ...unknown[]])
  // JSON.parse made even __proto__ an own property, and assigning to an own property stays there.
  const object = value as Record<string, unknown>
  for (const key of Object.keys(object)) object[key] = fromRich(object[key])
  return object
}

function fromTagged([tag, ...items]: [number, ...unknown[]]): unknown {
  const first = items[0]
  switch (tag) {
    case Tag.Array:
      return items.map(fromRich)
    case Tag.NaN:
      return Number.NaN
    case Tag.Infinity:
      return Number.POSITIVE_INFINITY
    case Tag.NegativeInfinity:
      return Number.NEGATIVE_INFINITY
    case Tag.NegativeZero:
      return -0
    case Tag.BigInt:
      return BigInt(first as string)
    case Tag.Date:
      return new Date(first === null ? Number.NaN : (first as number))
    case Tag.Map:
      return new Map(
        (items as [unknown, unknown][]).map(([key, item]) => [fromRich(key), fromRich(item)])
      )
    case Tag.Set:
      return new Set(items.map(fromRich))
    case Tag.Uint8Array:
      return new Uint8Array(Buffer.from(first as string, 'base64'))
    case Tag.Buffer:
      return Buffer.from(first as string, 'base64')
    default:
      return undefined
  }
}
