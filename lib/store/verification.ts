import { RecordCorruptError } from '../errors.js'
import { shortHandle } from '../record/handle.js'
import { IndexedRecord } from './format/indexed-record.js'
import { expiryKey, kindOf, principalKey, recordKey } from './format/keys.js'
import { decodeOutline, decodeRecord, type PartBytes, partKeysOf } from './format/record-codec.js'

/** A damaged database may have millions of problems; some are enough to know what happened. */
const MOST_LISTED = 100

const KINDS = [
  'format',
  'unreadable',
  'corrupt-record',
  'missing-expiry-entry',
  'missing-principal-entry',
  'stray-expiry-entry',
  'stray-principal-entry',
  'stray-part',
  'corrupt-expiry-entry',
  'unknown-key'
] as const

/** What can be wrong; see docs/durability.md for what each means and what to do. */
export type ProblemKind = (typeof KINDS)[number]

/** One thing that is wrong. Nothing here reveals an id or data. */
export interface VerificationProblem {
  readonly kind: ProblemKind
  /** The short handle of the session that it concerns, or `null`. */
  readonly session: string | null
  readonly detail: string
}

/** What a look at everything stored has found. */
export interface Verification {
  /** The format, or `null` if it cannot be told. */
  format: number | null
  records: number
  /** Values that records keep under keys of their own. */
  parts: number
  expiryEntries: number
  principalEntries: number
  /** Records put aside because they did not decode. They are no problem: they wait for a person. */
  quarantined: number
  /** How many problems there are in all; none if the store is sound. */
  problems: number
  /** How many there are of each kind. */
  readonly kinds: Record<ProblemKind, number>
  /** The first of them, at most 100. */
  readonly listed: VerificationProblem[]
}

/** Gathers what a look at everything finds. */
export class Findings {
  readonly found: Verification = {
    format: null,
    records: 0,
    parts: 0,
    expiryEntries: 0,
    principalEntries: 0,
    quarantined: 0,
    problems: 0,
    kinds: Object.fromEntries(KINDS.map((kind) => [kind, 0])) as Record<ProblemKind, number>,
    listed: []
  }

  report(kind: ProblemKind, handle: string | null, detail: string): void {
    this.found.problems++
    this.found.kinds[kind]++
    if (this.found.listed.length >= MOST_LISTED) return
    const session = handle === null ? null : shortHandle(handle)
    this.found.listed.push({ kind, session, detail })
  }
}

export const DETAILS = {
  'missing-expiry-entry': 'its record is not in the expiry index: it would never be deleted',
  'missing-principal-entry': "its record is not in its user's list: revokeAll() would miss it",
  'stray-expiry-entry': 'the expiry index has it where no record says so',
  'stray-principal-entry': "a user's list has it where no record says so",
  'stray-part': 'a value is kept apart that no record has',
  'corrupt-expiry-entry': 'an entry of the expiry index does not match its checksum'
} as Record<ProblemKind, string>

/**
 * The error in place of a record that does not decode.
 *
 * @param parts what it keeps apart
 */
export function tryDecode(
  handle: string,
  bytes: Buffer,
  key: Buffer,
  parts: PartBytes = []
): IndexedRecord | Error {
  return orError(() => decodeRecord(handle, bytes, key, IndexedRecord, parts))
}

/** As {@link tryDecode}, without what the record keeps apart. */
export function tryOutline(handle: string, bytes: Buffer): IndexedRecord | Error {
  return orError(() => decodeOutline(handle, bytes, recordKey(handle)))
}

/** Whether a record says that an index has it under this key; a corrupt one is reported as such. */
export function isNamedBy(bytes: Buffer, handle: string, indexKey: Buffer): boolean {
  const record = tryOutline(handle, bytes)
  if (record instanceof Error) return true
  if (kindOf(indexKey) === 'expiry')
    return expiryKey(record.indexedAt ?? 0, handle).equals(indexKey)
  return record.principal !== null && principalKey(record.principal, handle).equals(indexKey)
}

/** Whether a record keeps a value apart under this key; a corrupt one is reported as such. */
export function isPartOf(bytes: Buffer, handle: string, partKey: Buffer): boolean {
  const key = recordKey(handle)
  const record = tryOutline(handle, bytes)
  return (
    record instanceof Error || partKeysOf(handle, bytes, key).some((part) => part.equals(partKey))
  )
}

function orError<T>(decode: () => T): T | Error {
  try {
    return decode()
  } catch (error) {
    if (error instanceof RecordCorruptError) return error
    throw error
  }
}
