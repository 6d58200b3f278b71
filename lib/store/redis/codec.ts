import { RecordCorruptError } from '../../errors.js'
import { amountOf, type Expiry, expiryOf } from '../../record/expiry.js'
import { SessionRecord } from '../../record/record.js'
import { decodeValue } from '../../record/value.js'
import { HANDLE_LENGTH } from './keys.js'
import { RedisRecord } from './redis-record.js'
import { MARK_LENGTH } from './write-marks.js'

/** Where the list of a session's user has it. */
export interface Filing {
  readonly principal: string
  /** What tells this entry from earlier ones of the session in the same list. */
  readonly mark: string
  /** Until when the entry is kept, in ms since 1970. */
  readonly until: number
}

/** What is stored of one session. */
export interface StoredSession {
  /** The last writes, the newest first, which tells this version from all others. */
  readonly marks: readonly [string, ...string[]]
  /** Tells the session from earlier ones under its handle. */
  readonly born: string
  readonly filing: Filing | null
  readonly record: SessionRecord
}

const MOVED = '>'
/** In characters, and in bytes: of what stands for a session that was renewed. */
export const MOVED_LENGTH = MOVED.length + HANDLE_LENGTH
const FIELDS = 9

/**
 * Three lines: the marks, a JSON array, and the encoded values one behind the other. The array has
 * what {@link StoredSession} and its record have, and then each key and the length of its value.
 */
export function encodeSession({ marks, born, filing, record }: StoredSession): string {
  const { createdAt, lastSeenAt, expiresAt, expiry, principal, metadata, data } = record
  const head: unknown[] = [born, createdAt, lastSeenAt, expiresAt, expiryToText(expiry)]
  head.push(principal, metadata, filing?.mark ?? null, filing?.until ?? null)
  let texts = ''
  for (const [key, text] of data) {
    head.push(key, text.length)
    texts += text
  }
  return `${marks.join('')}\n${JSON.stringify(head)}\n${texts}`
}

/** What is stored in the place of a session that was renewed. */
export function encodeMoved(handle: string): string {
  return MOVED + handle
}

/** The handle under which a session goes on, or `null` if it has not been renewed. */
export function movedTo(stored: string | null): string | null {
  return stored?.startsWith(MOVED) ? stored.slice(MOVED.length) : null
}

/** As a request loads it. @throws {RecordCorruptError} */
export function decodeRecord(handle: string, stored: string): RedisRecord {
  const { record, born } = decode(handle, stored, RedisRecord)
  for (const text of record.data.values()) checkValue('a value', text)
  checkValue('metadata', record.metadata ?? 'null')
  record.stored = stored
  record.born = born
  return record
}

/** As the next write builds on it. @throws {RecordCorruptError} */
export function decodeSession(handle: string, stored: string): StoredSession {
  return decode(handle, stored, SessionRecord)
}

function decode<R extends SessionRecord>(
  handle: string,
  stored: string,
  Kind: new (start: ConstructorParameters<typeof SessionRecord>[0]) => R
): StoredSession & { readonly record: R } {
  const endOfMarks = stored.indexOf('\n')
  const endOfHead = stored.indexOf('\n', endOfMarks + 1)
  const head = parseHead(stored.slice(endOfMarks + 1, endOfHead))
  const [born, createdAt, lastSeenAt, expiresAt, expiry, principal, metadata, mark, until] = head
  const record = new Kind({
    handle,
    createdAt: numberIn(createdAt),
    lastSeenAt: numberIn(lastSeenAt),
    expiresAt: numberIn(expiresAt)
  })
  record.expiry = expiry === null ? null : textToExpiry(textIn(expiry))
  record.principal = principal === null ? null : textIn(principal)
  record.metadata = metadata === null ? null : textIn(metadata)
  fill(record, head, stored.slice(endOfHead + 1))
  const filing =
    mark === null || record.principal === null
      ? null
      : { principal: record.principal, mark: textIn(mark), until: numberIn(until) }
  return { marks: marksIn(stored.slice(0, endOfMarks)), born: textIn(born), filing, record }
}

/** When the session expires whose value begins so; `null` where it does not begin as one. */
export function expiresIn(start: string): { mark: string; expiresAt: number } | null {
  const found = /^([^\n]{15})[^\n]*\n\["[^"]*",[^,]*,[^,]*,([^,]+),/.exec(start)
  if (found === null) return null
  const [, mark = '', expiresAt] = found
  return { mark, expiresAt: Number(expiresAt) }
}

function parseHead(text: string): unknown[] {
  try {
    const head = JSON.parse(text)
    if (Array.isArray(head) && head.length >= FIELDS) return head
  } catch {
    // Not the cause: its message would hold the data.
  }
  throw new RecordCorruptError('its head does not decode')
}

function fill(record: SessionRecord, head: readonly unknown[], texts: string): void {
  let from = 0
  for (let at = FIELDS; at < head.length; at += 2) {
    const to = from + numberIn(head[at + 1])
    record.apply(textIn(head[at]), texts.slice(from, to))
    from = to
  }
  if (from !== texts.length) throw new RecordCorruptError('its values have another length')
}

function marksIn(text: string): [string, ...string[]] {
  const marks = text.match(/.{15}/g)
  if (marks === null || marks.length * MARK_LENGTH !== text.length) {
    throw new RecordCorruptError('its marks do not decode')
  }
  return marks as [string, ...string[]]
}

function numberIn(field: unknown): number {
  if (typeof field === 'number') return field
  throw new RecordCorruptError('a field is no number')
}

function textIn(field: unknown): string {
  if (typeof field === 'string') return field
  throw new RecordCorruptError('a field is no text')
}

function expiryToText(expiry: Expiry | null): string | null {
  if (expiry === null || expiry.kind === 'session-end') return expiry?.kind ?? null
  return `${expiry.kind} ${amountOf(expiry)}`
}

function textToExpiry(text: string): Expiry {
  const [kind, amount = ''] = text.split(' ')
  const expiry = expiryOf(kind, amount === '' ? null : Number(amount))
  if (expiry === null) throw new RecordCorruptError('its expiry is not one')
  return expiry
}

function checkValue(name: string, text: string): void {
  try {
    decodeValue(text)
  } catch {
    throw new RecordCorruptError(`${name} does not decode`)
  }
}
