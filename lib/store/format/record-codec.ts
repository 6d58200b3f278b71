import { crc32 } from 'node:zlib'
import { RecordCorruptError } from '../../errors.js'
import { amountOf, type Expiry, expiryOf } from '../../record/expiry.js'
import { keyToText, textToKey } from '../../record/key-text.js'
import type { NewRecord } from '../../record/record.js'
import { IndexedRecord } from './indexed-record.js'

/**
 * A record as bytes, all numbers big-endian:
 *
 *     0      1  record version, 1
 *     1      1  expiry: 0 the registration's, 1 session end, 2 inactivity, 3 date and time
 *     2      8  created at, ms, as a double (as are the next four)
 *     10     8  last seen at
 *     18     8  expires at
 *     26     8  indexed at: the time under which the expiry index has this record
 *     34     8  the expiry's milliseconds or time
 *     42     4  n, the number of entries
 *     46  8*n+8  lengths in UTF-16 units of principal, metadata (both 0xffffffff if absent),
 *                and of each entry's key and value
 *     ...       the same texts in UTF-8, one after the other
 *     last   4  CRC-32 of the record's key and of all bytes before
 *
 * One string write and one string read for all texts together are what makes it fast. The key is
 * part of the checksum, so a record that got under another session's key does not decode.
 */
const VERSION = 1
const HEADER_BYTES = 46
const ABSENT = 0xffff_ffff
const CHECKSUM_BYTES = 4

const EXPIRY_KINDS = [null, 'session-end', 'inactivity', 'date-time'] as const

export function encodeRecord(record: IndexedRecord, key: Buffer): Buffer {
  const { data, principal, metadata } = record
  let texts = (principal ?? '') + (metadata ?? '')
  for (const [name, text] of data) texts += keyToText(name) + text
  const textsAt = HEADER_BYTES + 8 + 8 * data.size
  const from = reserve(textsAt + mostBytes(texts) + CHECKSUM_BYTES)
  slab[from] = VERSION
  writeExpiry(from, record.expiry)
  view.setFloat64(from + 2, record.createdAt)
  view.setFloat64(from + 10, record.lastSeenAt)
  view.setFloat64(from + 18, record.expiresAt)
  view.setFloat64(from + 26, record.indexedAt ?? 0)
  view.setUint32(from + 42, data.size)
  view.setUint32(from + HEADER_BYTES, principal === null ? ABSENT : principal.length)
  view.setUint32(from + HEADER_BYTES + 4, metadata === null ? ABSENT : metadata.length)
  let at = from + HEADER_BYTES + 8
  for (const [name, text] of data) {
    view.setUint32(at, keyToText(name).length)
    view.setUint32(at + 4, text.length)
    at += 8
  }
  const end = at + slab.write(texts, at, 'utf8')
  view.setUint32(end, checksum(slab.subarray(from, end), key))
  used = end + CHECKSUM_BYTES
  return slab.subarray(from, used)
}

const SLAB_BYTES = 64 * 1024

/**
 * Records are encoded one behind the other: a buffer of its own for each would cost more than
 * its encoding. No byte is used twice, so whoever writes a record may take their time.
 */
let slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
let view = new DataView(slab.buffer)
let used = 0

/** Makes sure that so many bytes are free in the slab, and returns where they begin. */
function reserve(bytes: number): number {
  if (used + bytes > slab.length) {
    slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes))
    view = new DataView(slab.buffer)
    used = 0
  }
  return used
}

const LONG_TEXT = 4096

/** How much space a text may need in UTF-8: three bytes a unit at most, counted if that is much. */
function mostBytes(text: string): number {
  return text.length < LONG_TEXT ? 3 * text.length : Buffer.byteLength(text)
}

type RecordKind<T extends IndexedRecord> = new (start: NewRecord) => T

/**
 * @param Kind the store's own kind of record
 * @throws {RecordCorruptError} if the bytes are not a record of this key
 */
export function decodeRecord<T extends IndexedRecord>(
  handle: string,
  bytes: Buffer,
  key: Buffer,
  Kind: RecordKind<T>
): T
export function decodeRecord(handle: string, bytes: Buffer, key: Buffer): IndexedRecord
export function decodeRecord(
  handle: string,
  bytes: Buffer,
  key: Buffer,
  Kind: RecordKind<IndexedRecord> = IndexedRecord
): IndexedRecord {
  const end = bytes.length - CHECKSUM_BYTES
  if (end < HEADER_BYTES + 8) throw new RecordCorruptError('it is too short')
  if (bytes.readUInt32BE(end) !== checksum(bytes.subarray(0, end), key)) {
    throw new RecordCorruptError('its checksum does not match')
  }
  if (bytes[0] !== VERSION) throw new RecordCorruptError(`it has the unknown version ${bytes[0]}`)
  const record = new Kind({
    handle,
    createdAt: bytes.readDoubleBE(2),
    lastSeenAt: bytes.readDoubleBE(10),
    expiresAt: bytes.readDoubleBE(18)
  })
  record.expiry = readExpiry(bytes)
  record.indexedAt = bytes.readDoubleBE(26)
  readTexts(record, bytes, end)
  return record
}

function readTexts(record: IndexedRecord, bytes: Buffer, end: number): void {
  const count = bytes.readUInt32BE(42)
  const textsAt = HEADER_BYTES + 8 + 8 * count
  if (textsAt > end) throw new RecordCorruptError('its entries do not fit')
  const texts = bytes.toString('utf8', textsAt, end)
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
  for (let at = HEADER_BYTES + 8; at < textsAt; at += 8) {
    const key = textToKey(take(at) ?? '')
    record.apply(key, take(at + 4) ?? '')
  }
}

function checksum(bytes: Buffer, key: Buffer): number {
  return crc32(bytes, crc32(key))
}

function writeExpiry(from: number, expiry: Expiry | null): void {
  slab[from + 1] = EXPIRY_KINDS.indexOf(expiry === null ? null : expiry.kind)
  view.setFloat64(from + 34, amountOf(expiry))
}

function readExpiry(bytes: Buffer): Expiry | null {
  return expiryOf(EXPIRY_KINDS[bytes[1] as number], bytes.readDoubleBE(34))
}
