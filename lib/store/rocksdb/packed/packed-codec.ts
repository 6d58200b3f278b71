import { amountOf, type Expiry, expiryOf } from '../../../record/expiry.js'
import { keyToText, textToKey } from '../../../record/key-text.js'
import { notesOf } from '../../../record/notes.js'
import { SESSION_NOTES } from '../../../record/record.js'
import type { Part, Parts } from '../../format/parts.js'
import { EXPIRY_KINDS } from '../../format/record-codec.js'
import { LiveRecord } from '../live-record.js'

/*
 * A live record as bytes:
 *
 *     flags
 *     created at, last seen at, expires at, indexed at; with NOTES, seen at and expires at as stored,
 *     and expires at as told; with an expiry of its own, its milliseconds or time
 *     the number of entries, and the bytes of all texts
 *     principal, metadata, and each entry's key and value, in UTF-8
 *     the lengths of these texts in UTF-16 units
 *     with PARTS, how many entries are kept apart, and for each its place among the entries, its
 *     part's number in eight bytes, and the checksum
 *
 * Times take six bytes, or eight as doubles; other numbers take one for each seven bits. It is a
 * tenth smaller than what the database stores, has no checksum, and knows of notes.
 */
const ASCII = 1
const PRINCIPAL = 2
const METADATA = 4
const NOTES = 8
const DOUBLES = 16
const EXPIRY_SHIFT = 5
const EXPIRY_MASK = 3
const PARTS = 128

const MOST_TIMES = 8
const MOST_NUMBER = 5
const MOST_PART = MOST_NUMBER + 12
const TIME_BYTES = 6
const TIME_LIMIT = 2 ** 48
const HALF = 2 ** 32

/** One for all: a record is packed, and its bytes copied, before anybody else can come. */
let scratch = Buffer.allocUnsafeSlow(64 * 1024)
let view = new DataView(scratch.buffer)
let end = 0
const times = new Float64Array(MOST_TIMES)

/** The bytes of a record, valid until the next call. */
export function packRecord(record: LiveRecord): Buffer {
  const { data, principal, metadata, expiry, parts } = record
  let texts = (principal ?? '') + (metadata ?? '')
  for (const [key, text] of data) texts += keyToText(key) + text
  const numbers = MOST_NUMBER * (5 + 2 * data.size) + MOST_PART * (parts?.size ?? 0)
  reserve(1 + 8 * MOST_TIMES + numbers + 3 * texts.length)
  let flags = 0
  let count = gatherTimes(record)
  if (count > 4) flags |= NOTES
  flags |= EXPIRY_KINDS.indexOf(expiry === null ? null : expiry.kind) << EXPIRY_SHIFT
  if (expiry !== null) times[count++] = amountOf(expiry)
  end = 1
  if (!packTimes(count)) flags |= DOUBLES
  packNumber(data.size)
  const textBytes = Buffer.byteLength(texts)
  if (textBytes === texts.length) flags |= ASCII
  packNumber(textBytes)
  end += scratch.write(texts, end, textBytes === texts.length ? 'latin1' : 'utf8')
  if (principal !== null) {
    flags |= PRINCIPAL
    packNumber(principal.length)
  }
  if (metadata !== null) {
    flags |= METADATA
    packNumber(metadata.length)
  }
  for (const [key, text] of data) {
    packNumber(keyToText(key).length)
    packNumber(text.length)
  }
  if (parts !== null) {
    flags |= PARTS
    packParts(data, parts)
  }
  scratch[0] = flags
  return scratch.subarray(0, end)
}

function packParts(data: ReadonlyMap<string, string>, parts: Parts): void {
  packNumber(parts.size)
  let place = 0
  for (const key of data.keys()) {
    const part = parts.get(key)
    if (part !== undefined) {
      packNumber(place)
      view.setFloat64(end, part.number)
      view.setUint32(end + 8, part.checksum)
      end += 12
    }
    place++
  }
}

function reserve(bytes: number): void {
  if (bytes <= scratch.length) return
  scratch = Buffer.allocUnsafeSlow(bytes)
  view = new DataView(scratch.buffer)
}

/** Those of its notes only if they are not what notes begin with. */
function gatherTimes(record: LiveRecord): number {
  const { lastSeenAt, expiresAt } = record
  times[0] = record.createdAt
  times[1] = lastSeenAt
  times[2] = expiresAt
  times[3] = record.indexedAt ?? 0
  const notes = record[SESSION_NOTES]
  if (notes === null) return 4
  const { storedSeenAt, storedExpiresAt, toldExpiresAt } = notes
  times[4] = storedSeenAt
  times[5] = storedExpiresAt
  times[6] = toldExpiresAt
  return 7
}

/** False if they had to be packed as doubles. */
function packTimes(count: number): boolean {
  let whole = true
  for (let at = 0; at < count; at++) whole &&= isWhole(times[at] as number)
  for (let at = 0; at < count; at++) {
    const time = times[at] as number
    if (whole) {
      view.setUint16(end, time / HALF)
      view.setUint32(end + 2, time % HALF)
      end += TIME_BYTES
    } else {
      view.setFloat64(end, time)
      end += 8
    }
  }
  return whole
}

function isWhole(time: number): boolean {
  return time >= 0 && time < TIME_LIMIT && Number.isInteger(time)
}

function packNumber(number: number): void {
  let left = number
  while (left >= 0x80) {
    scratch[end++] = (left & 0x7f) | 0x80
    left >>>= 7
  }
  scratch[end++] = left
}

/** Packed bytes within a larger piece of memory. */
export interface Packed {
  readonly bytes: Buffer
  /** Of the same bytes. */
  readonly view: DataView
  readonly at: number
}

/** The record that these bytes were made of. */
export function unpackRecord(handle: string, packed: Packed): LiveRecord {
  return new Unpacking(packed).record(handle)
}

/** Private members are TypeScript's, as in `UnitOfWork`. */
class Unpacking {
  private readonly bytes: Buffer
  private readonly view: DataView
  private readonly flags: number
  private at: number
  private texts = ''
  private taken = 0

  constructor({ bytes, view, at }: Packed) {
    this.bytes = bytes
    this.view = view
    this.flags = bytes[at] as number
    this.at = at + 1
  }

  record(handle: string): LiveRecord {
    const createdAt = this.time()
    const lastSeenAt = this.time()
    const record = new LiveRecord({ handle, createdAt, lastSeenAt, expiresAt: this.time() })
    record.indexedAt = this.time()
    if (this.has(NOTES)) {
      const notes = notesOf(record)
      notes.storedSeenAt = this.time()
      notes.storedExpiresAt = this.time()
      notes.toldExpiresAt = this.time()
    }
    record.expiry = this.expiry()
    const count = this.number()
    const textBytes = this.number()
    const encoding = this.has(ASCII) ? 'latin1' : 'utf8'
    this.texts = this.bytes.toString(encoding, this.at, this.at + textBytes)
    this.at += textBytes
    if (this.has(PRINCIPAL)) record.principal = this.text()
    record.indexedPrincipal = record.principal
    if (this.has(METADATA)) record.metadata = this.text()
    for (let left = count; left > 0; left--) record.apply(textToKey(this.text()), this.text())
    if (this.has(PARTS)) record.parts = this.parts([...record.data])
    return record
  }

  private has(flag: number): boolean {
    return (this.flags & flag) !== 0
  }

  private time(): number {
    const { view, at } = this
    if (this.has(DOUBLES)) {
      this.at = at + 8
      return view.getFloat64(at)
    }
    this.at = at + TIME_BYTES
    return view.getUint16(at) * HALF + view.getUint32(at + 2)
  }

  private expiry(): Expiry | null {
    const kind = EXPIRY_KINDS[(this.flags >> EXPIRY_SHIFT) & EXPIRY_MASK]
    return kind ? expiryOf(kind, this.time()) : null
  }

  private number(): number {
    let number = 0
    for (let shift = 0; ; shift += 7) {
      const byte = this.bytes[this.at++] as number
      number |= (byte & 0x7f) << shift
      if (byte < 0x80) return number
    }
  }

  private parts(entries: readonly [string, string][]): Parts {
    const parts = new Map<string, Part>()
    for (let left = this.number(); left > 0; left--) {
      const [key, text] = entries[this.number()] as [string, string]
      const number = this.view.getFloat64(this.at)
      parts.set(key, { number, checksum: this.view.getUint32(this.at + 8), text })
      this.at += 12
    }
    return parts
  }

  private text(): string {
    const from = this.taken
    this.taken += this.number()
    return this.texts.slice(from, this.taken)
  }
}
