import { RecordCorruptError } from '../../errors.js'
import { amountOf, type Expiry, expiryOf } from '../../record/expiry.js'
import { keyToText, textToKey } from '../../record/key-text.js'
import type { SessionRecord } from '../../record/record.js'
import { decodeValue } from '../../record/value.js'
import { type Known, RedisRecord } from './redis-record.js'

/**
 * A session is a hash. Beside `born`, `created`, `seen`, `expires`, `expiry`, `principal` and
 * `metadata` it has a field for each session key, named `=` and the key, so that each can be
 * changed alone. Its value is a number, a space and the encoded value: hashes keep no order, but
 * the keys of a session come in the order in which they first were set. `next` is the next number.
 */
const DATA_MARK = '='

export function fieldOf(key: string): string {
  return DATA_MARK + keyToText(key)
}

function expiryToText(expiry: Expiry | null): string {
  if (expiry === null || expiry.kind === 'session-end') return expiry?.kind ?? ''
  return `${expiry.kind} ${amountOf(expiry)}`
}

/** What will be known of a record once it is stored as it is. */
export function knownOf(record: SessionRecord, born: string): Known {
  return {
    born,
    created: String(record.createdAt),
    expiry: expiryToText(record.expiry),
    principal: record.principal ?? '',
    metadata: record.metadata ?? '',
    data: new Map(record.data)
  }
}

/** What a request sends of its record, as the scripts read it. */
export interface Message {
  readonly created: string
  readonly seen: string
  readonly expires: string
  readonly expiry: string
  readonly principal: string
  readonly metadata: string
  readonly set: (readonly [field: string, text: string])[]
  readonly del: string[]
}

/** The record's own fields, and these changes of its data; `undefined` deletes. */
export function messageOf(
  record: SessionRecord,
  changes: Iterable<readonly [string, string | undefined]>
): Message {
  const set: (readonly [string, string])[] = []
  const del: string[] = []
  for (const [key, text] of changes) {
    if (text === undefined) del.push(fieldOf(key))
    else set.push([fieldOf(key), text])
  }
  return {
    created: String(record.createdAt),
    seen: String(record.lastSeenAt),
    expires: String(record.expiresAt),
    expiry: expiryToText(record.expiry),
    principal: record.principal ?? '',
    metadata: record.metadata ?? '',
    set,
    del
  }
}

/** @throws {RecordCorruptError} */
export function decodeHash(handle: string, fields: ReadonlyMap<string, string>): RedisRecord {
  const record = new RedisRecord({
    handle,
    createdAt: numberIn(fields, 'created'),
    lastSeenAt: numberIn(fields, 'seen'),
    expiresAt: numberIn(fields, 'expires')
  })
  record.expiry = textToExpiry(fields.get('expiry') ?? '')
  record.principal = fields.get('principal') || null
  record.metadata = fields.get('metadata') || null
  checkValue('metadata', record.metadata ?? 'null')
  const entries = [...fields].filter(([field]) => field.startsWith(DATA_MARK)).map(decodeEntry)
  entries.sort((a, b) => a.order - b.order)
  for (const { key, text } of entries) record.apply(key, text)
  const born = fields.get('born')
  if (born === undefined) throw new RecordCorruptError('its field "born" is missing')
  record.known = knownOf(record, born)
  return record
}

function numberIn(fields: ReadonlyMap<string, string>, name: string): number {
  const text = fields.get(name) ?? ''
  if (text === '' || !Number.isFinite(Number(text))) {
    throw new RecordCorruptError(`its field "${name}" is no number`)
  }
  return Number(text)
}

function textToExpiry(text: string): Expiry | null {
  if (text === '') return null
  const [kind, amount = ''] = text.split(' ')
  const expiry = expiryOf(kind, amount === '' ? null : Number(amount))
  if (expiry === null) throw new RecordCorruptError('its expiry is not one')
  return expiry
}

function decodeEntry([field, value]: [string, string]): {
  key: string
  text: string
  order: number
} {
  const space = value.indexOf(' ')
  const order = Number(value.slice(0, space))
  const text = value.slice(space + 1)
  if (space < 1 || !Number.isSafeInteger(order))
    throw new RecordCorruptError('a value has no order')
  checkValue('a value', text)
  try {
    return { key: textToKey(field.slice(DATA_MARK.length)), text, order }
  } catch {
    throw new RecordCorruptError('a key does not decode')
  }
}

function checkValue(name: string, text: string): void {
  try {
    decodeValue(text)
  } catch {
    // Not the cause: its message would hold the data.
    throw new RecordCorruptError(`${name} does not decode`)
  }
}

/** The fields in a reply to HGETALL, which clients and protocol versions shape differently. */
export function fieldsOf(reply: unknown): Map<string, string> {
  if (reply instanceof Map) return reply
  if (!Array.isArray(reply)) return new Map(Object.entries((reply ?? {}) as object))
  const fields = new Map<string, string>()
  for (let at = 0; at < reply.length; at += 2) fields.set(reply[at], reply[at + 1])
  return fields
}
