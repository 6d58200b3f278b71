import { RecordCorruptError } from '../../errors.js'
import { checksum } from './checksum.js'
import type { IndexedRecord } from './indexed-record.js'
import { partKey } from './keys.js'
import { encodeText } from './slab.js'

/** What a record has in place of a value that it keeps apart. */
export interface Reference {
  /** Tells it apart from all others of its session. */
  readonly number: number
  /** Of its key and its bytes: the record names this very text, and no other under that key. */
  readonly checksum: number
}

/** A value under a key of its own, so that other changes do not write it again. */
export interface Part extends Reference {
  readonly text: string
}

/** By session key. */
export type Parts = ReadonlyMap<string, Part>

/** Where parts are written. */
export interface PartWriter {
  put(key: Buffer, bytes: Buffer): void
  remove(key: Buffer): void
}

/**
 * The length in UTF-16 units from which on a value is kept apart. There, what each other change of
 * its session saves is half of what it costs to read one more key from disk.
 */
const LEAST_APART = 2048

/**
 * Writes what has changed of the values that a record keeps apart. Text under a number is
 * overwritten, as a deletion would cost as much again.
 *
 * @returns what is stored of it afterwards
 */
export function writeParts(record: IndexedRecord, writer: PartWriter): Parts | null {
  const { handle, data, parts: before } = record
  if (before === null && record.size < LEAST_APART) return null
  const parts = new Map<string, Part>()
  let last = 0
  for (const { number } of before?.values() ?? []) last = Math.max(last, number)
  for (const [name, text] of data) {
    if (text.length < LEAST_APART) continue
    const known = before?.get(name)
    if (known?.text === text) {
      parts.set(name, known)
      continue
    }
    const number = known?.number ?? ++last
    const key = partKey(handle, number)
    const bytes = encodeText(text)
    parts.set(name, { number, text, checksum: checksum(key, bytes) })
    writer.put(key, bytes)
  }
  for (const [name, { number }] of before ?? []) {
    if (!parts.has(name)) writer.remove(partKey(handle, number))
  }
  return parts.size === 0 ? null : parts
}

/** Deletes the parts of a record that is about to be deleted. */
export function removeParts({ handle, parts }: IndexedRecord, writer: PartWriter): void {
  for (const { number } of parts?.values() ?? []) writer.remove(partKey(handle, number))
}

/** @throws {RecordCorruptError} if the bytes are not what the record has stored there */
export function decodePart(handle: string, reference: Reference, bytes: Buffer | null): Part {
  if (bytes === null) throw new RecordCorruptError('a value that it keeps apart is missing')
  const { number } = reference
  if (checksum(partKey(handle, number), bytes) !== reference.checksum) {
    throw new RecordCorruptError('the checksum of a value that it keeps apart does not match')
  }
  return { number, checksum: reference.checksum, text: bytes.toString('utf8') }
}
