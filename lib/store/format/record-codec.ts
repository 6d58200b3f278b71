import { RecordCorruptError } from '../../errors.js'
import { amountOf, type Expiry, expiryOf } from '../../record/expiry.js'
import { keyToText, textToKey } from '../../record/key-text.js'
import type { NewRecord } from '../../record/record.js'
import { checksum } from './checksum.js'
import { IndexedRecord } from './indexed-record.js'
import { PART_NUMBER_BYTES, partKey } from './keys.js'
import { decodePart, type Part, type Parts, type Reference } from './parts.js'
import { mostBytes, reserve, slab, takeUntil, view } from './slab.js'

/**
 * A record as bytes, all numbers big-endian:
 *
 *     0      1  record version: 1, or 2 if it keeps values apart
 *     1      1  expiry: 0 the registration's, 1 session end, 2 inactivity, 3 date and time
 *     2      8  created at, ms, as a double (as are the next four)
 *     10     8  last seen at
 *     18     8  expires at
 *     26     8  indexed at: the time under which the expiry index has this record
 *     34     8  the expiry's milliseconds or time
 *     42     4  n, the number of entries
 *     46  8*n+8  lengths in UTF-16 units of principal, metadata (both 0xffffffff if absent),
 *                and of each entry's key and value (0xffffffff if it is kept apart)
 *     ...   10  only in version 2, for each value that is kept apart: its number in 6 bytes, and
 *                its checksum
 *     ...       the texts that are here in UTF-8, one after the other
 *     last   4  CRC-32 of the record's key and of all bytes before
 *
 * One string write and one string read for all texts together are what makes it fast. The key is
 * part of the checksum, so a record that got under another session's key does not decode.
 */
const VERSION = 1
const VERSION_WITH_PARTS = 2
const HEADER_BYTES = 46
const LENGTHS_AT = HEADER_BYTES + 8
const ABSENT = 0xffff_ffff
const REFERENCE_BYTES = PART_NUMBER_BYTES + 4
const CHECKSUM_BYTES = 4

/** By the number that is stored for each; none is the registration's. */
export const EXPIRY_KINDS = [null, 'session-end', 'inactivity', 'date-time'] as const

/** @param parts the values that are left out, as they are stored */
export function encodeRecord(
  record: IndexedRecord,
  key: Buffer,
  parts: Parts | null = null
): Buffer {
  const { data, principal, metadata } = record
  let texts = (principal ?? '') + (metadata ?? '')
  for (const [name, text] of data) {
    texts += keyToText(name)
    if (parts?.has(name) !== true) texts += text
  }
  const lengthsEnd = LENGTHS_AT + 8 * data.size
  const textsAt = lengthsEnd + REFERENCE_BYTES * (parts?.size ?? 0)
  const from = reserve(textsAt + mostBytes(texts) + CHECKSUM_BYTES)
  slab[from] = parts === null ? VERSION : VERSION_WITH_PARTS
  writeExpiry(from, record.expiry)
  view.setFloat64(from + 2, record.createdAt)
  view.setFloat64(from + 10, record.lastSeenAt)
  view.setFloat64(from + 18, record.expiresAt)
  view.setFloat64(from + 26, record.indexedAt ?? 0)
  view.setUint32(from + 42, data.size)
  view.setUint32(from + HEADER_BYTES, principal === null ? ABSENT : principal.length)
  view.setUint32(from + HEADER_BYTES + 4, metadata === null ? ABSENT : metadata.length)
  let at = from + LENGTHS_AT
  let referenceAt = from + lengthsEnd
  for (const [name, text] of data) {
    const part = parts?.get(name)
    view.setUint32(at, keyToText(name).length)
    view.setUint32(at + 4, part === undefined ? text.length : ABSENT)
    at += 8
    if (part === undefined) continue
    slab.writeUIntBE(part.number, referenceAt, PART_NUMBER_BYTES)
    view.setUint32(referenceAt + PART_NUMBER_BYTES, part.checksum)
    referenceAt += REFERENCE_BYTES
  }
  const end = from + textsAt + slab.write(texts, from + textsAt, 'utf8')
  view.setUint32(end, checksum(key, slab.subarray(from, end)))
  return takeUntil(end + CHECKSUM_BYTES)
}

type RecordKind<T extends IndexedRecord> = new (start: NewRecord) => T

/** What is stored under each key that {@link partKeysOf} gives, in their order. */
export type PartBytes = readonly (Buffer | null)[]

/**
 * @param Kind the store's own kind of record
 * @throws {RecordCorruptError} if the bytes are not a record of this key, or the parts not its own
 */
export function decodeRecord<T extends IndexedRecord>(
  handle: string,
  bytes: Buffer,
  key: Buffer,
  Kind: RecordKind<T>,
  parts?: PartBytes
): T
export function decodeRecord(handle: string, bytes: Buffer, key: Buffer): IndexedRecord
export function decodeRecord(
  handle: string,
  bytes: Buffer,
  key: Buffer,
  Kind: RecordKind<IndexedRecord> = IndexedRecord,
  parts: PartBytes = []
): IndexedRecord {
  return decode(handle, bytes, key, Kind, parts)
}

/**
 * A record without the values that it keeps apart: not one to be shown or stored.
 *
 * @throws as {@link decodeRecord}
 */
export function decodeOutline(handle: string, bytes: Buffer, key: Buffer): IndexedRecord {
  return decode(handle, bytes, key, IndexedRecord, null)
}

const NO_KEYS: readonly Buffer[] = []
const NO_REFERENCES: readonly Reference[] = []
const NO_PARTS: readonly Part[] = []

/**
 * The keys of the values that a record keeps apart.
 *
 * @throws {RecordCorruptError} as {@link decodeRecord}
 */
export function partKeysOf(handle: string, bytes: Buffer, key: Buffer): readonly Buffer[] {
  if (bytes[0] !== VERSION_WITH_PARTS) return NO_KEYS
  check(bytes, key)
  return referencesIn(bytes).map(({ number }) => partKey(handle, number))
}

/** @param partBytes `null` for a record without the values that it keeps apart */
function decode(
  handle: string,
  bytes: Buffer,
  key: Buffer,
  Kind: RecordKind<IndexedRecord>,
  partBytes: PartBytes | null
): IndexedRecord {
  check(bytes, key)
  const record = new Kind({
    handle,
    createdAt: bytes.readDoubleBE(2),
    lastSeenAt: bytes.readDoubleBE(10),
    expiresAt: bytes.readDoubleBE(18)
  })
  record.expiry = readExpiry(bytes)
  record.indexedAt = bytes.readDoubleBE(26)
  const references = referencesIn(bytes)
  readTexts(record, bytes, references.length, decodeParts(handle, references, partBytes))
  return record
}

function decodeParts(
  handle: string,
  references: readonly Reference[],
  bytes: PartBytes | null
): readonly Part[] {
  if (bytes === null || references.length === 0) return NO_PARTS
  return references.map((reference, nth) => decodePart(handle, reference, bytes[nth] ?? null))
}

function check(bytes: Buffer, key: Buffer): void {
  const end = bytes.length - CHECKSUM_BYTES
  if (end < LENGTHS_AT) throw new RecordCorruptError('it is too short')
  if (bytes.readUInt32BE(end) !== checksum(key, bytes.subarray(0, end))) {
    throw new RecordCorruptError('its checksum does not match')
  }
  const version = bytes[0]
  if (version !== VERSION && version !== VERSION_WITH_PARTS) {
    throw new RecordCorruptError(`it has the unknown version ${version}`)
  }
}

/** Where the values are that a record keeps apart, in their order. */
function referencesIn(bytes: Buffer): readonly Reference[] {
  if (bytes[0] === VERSION) return NO_REFERENCES
  const references: Reference[] = []
  const end = bytes.length - CHECKSUM_BYTES
  const lengthsEnd = lengthsEndIn(bytes)
  for (let at = LENGTHS_AT + 4; at < lengthsEnd; at += 8) {
    if (bytes.readUInt32BE(at) !== ABSENT) continue
    const from = lengthsEnd + REFERENCE_BYTES * references.length
    if (from + REFERENCE_BYTES > end) throw new RecordCorruptError('its entries do not fit')
    const number = bytes.readUIntBE(from, PART_NUMBER_BYTES)
    references.push({ number, checksum: bytes.readUInt32BE(from + PART_NUMBER_BYTES) })
  }
  return references
}

function lengthsEndIn(bytes: Buffer): number {
  const lengthsEnd = LENGTHS_AT + 8 * bytes.readUInt32BE(42)
  const end = bytes.length - CHECKSUM_BYTES
  if (lengthsEnd > end) throw new RecordCorruptError('its entries do not fit')
  return lengthsEnd
}

/** @param parts in their order; none leaves out the values that it keeps apart */
function readTexts(
  record: IndexedRecord,
  bytes: Buffer,
  references: number,
  parts: readonly Part[]
): void {
  const lengthsEnd = lengthsEndIn(bytes)
  const textsAt = lengthsEnd + REFERENCE_BYTES * references
  const texts = bytes.toString('utf8', textsAt, bytes.length - CHECKSUM_BYTES)
  let from = 0
  const take = (lengthAt: number): string | null => {
    const length = bytes.readUInt32BE(lengthAt)
    if (length === ABSENT) return null
    const text = texts.slice(from, from + length)
    from += length
    return text
  }
  record.principal = take(HEADER_BYTES)
  record.indexedPrincipal = record.principal
  record.metadata = take(HEADER_BYTES + 4)
  const apart = parts.length === 0 ? null : new Map<string, Part>()
  for (let at = LENGTHS_AT; at < lengthsEnd; at += 8) {
    const name = textToKey(take(at) ?? '')
    const text = take(at + 4)
    if (text !== null) {
      record.apply(name, text)
      continue
    }
    const part = parts[apart?.size ?? 0]
    if (part === undefined) continue
    record.apply(name, part.text)
    apart?.set(name, part)
  }
  record.parts = apart
}

function writeExpiry(from: number, expiry: Expiry | null): void {
  slab[from + 1] = EXPIRY_KINDS.indexOf(expiry === null ? null : expiry.kind)
  view.setFloat64(from + 34, amountOf(expiry))
}

function readExpiry(bytes: Buffer): Expiry | null {
  return expiryOf(EXPIRY_KINDS[bytes[1] as number], bytes.readDoubleBE(34))
}
