import { hash } from 'node:crypto'

/**
 * The keys of a database. Their first byte says what they are, so that each kind is one range and
 * all of them may share one key space: `rocksdb-native` writes atomically within one column family
 * alone.
 */
const RECORD = 0x01
const EXPIRY = 0x02
const PRINCIPAL = 0x03
const QUARANTINE = 0x04
const LEASE = 0x05
const SUCCESSOR = 0x06
const PART = 0x07

const HASH_BYTES = 32
const TIME_BYTES = 8
/** Of the number of a part. */
export const PART_NUMBER_BYTES = 6
const PART_BYTES = 1 + HASH_BYTES + PART_NUMBER_BYTES
/** Of what tells groups of one time apart. */
export const GROUP_BYTES = 8
const GROUP_KEY_BYTES = 1 + TIME_BYTES + GROUP_BYTES

const UNKNOWN = ['unknown', 0] as const
/** By first byte. */
const KINDS = [
  ['meta', 1],
  ['record', 1 + HASH_BYTES],
  ['expiry', 1 + TIME_BYTES + HASH_BYTES],
  ['principal', 1 + 2 * HASH_BYTES],
  ['quarantine', 1 + HASH_BYTES],
  ['lease', 1 + HASH_BYTES],
  ['successor', 1 + HASH_BYTES],
  ['part', PART_BYTES]
] as const

/** Where the store keeps its format version. */
export const META_KEY = Buffer.from([0x00])

/** `0x01`, hash: the record of a session. */
export function recordKey(handle: string): Buffer {
  const key = Buffer.allocUnsafe(1 + HASH_BYTES)
  key[0] = RECORD
  key.write(handle, 1, 'base64url')
  return key
}

/** The time under which a deadline is filed: not before it, in whole ms. */
export function indexTime(expiresAt: number): number {
  return Math.max(0, Math.ceil(expiresAt))
}

/** `0x02`, expires-at in ms as 8 bytes big-endian, hash: an entry of the expiry index. */
export function expiryKey(expiresAt: number, handle: string): Buffer {
  const key = Buffer.allocUnsafe(1 + TIME_BYTES + HASH_BYTES)
  key[0] = EXPIRY
  writeTime(key, expiresAt)
  key.write(handle, 1 + TIME_BYTES, 'base64url')
  return key
}

/** `0x02`, expires-at in ms, 8 bytes of no meaning: an entry of the expiry index for a group. */
export function expiryGroupKey(expiresAt: number, unique: Buffer): Buffer {
  const key = Buffer.allocUnsafe(GROUP_KEY_BYTES)
  key[0] = EXPIRY
  writeTime(key, expiresAt)
  key.set(unique, 1 + TIME_BYTES)
  return key
}

/** `0x03`, SHA-256 of the principal, hash: an entry of the index of a user's sessions. */
export function principalKey(principal: string, handle: string): Buffer {
  const key = Buffer.allocUnsafe(1 + 2 * HASH_BYTES)
  key.set(principalPrefix(principal))
  key.write(handle, 1 + HASH_BYTES, 'base64url')
  return key
}

/** The part of the index that lists one user's sessions. */
export function principalRange(principal: string): { gte: Buffer; lt: Buffer } {
  const gte = principalPrefix(principal)
  return { gte, lt: successor(gte) }
}

/** The handle in a principal key. */
export function parsePrincipalKey(key: Buffer): string {
  return key.toString('base64url', 1 + HASH_BYTES)
}

/** What a key stands for. */
export type KeyKind = (typeof KINDS)[number][0] | 'expiry group' | 'quarantined part' | 'unknown'

/** Tells what a key stands for by its first byte and its length. */
export function kindOf(key: Buffer): KeyKind {
  const [kind, length] = KINDS[key[0] ?? KINDS.length] ?? UNKNOWN
  if (key.length === length) return kind
  if (kind === 'expiry' && key.length === GROUP_KEY_BYTES) return 'expiry group'
  return kind === 'quarantine' && key.length === PART_BYTES ? 'quarantined part' : 'unknown'
}

/** The handle in the key of a record, of an index entry for one session, or of a quarantined record. */
export function handleIn(key: Buffer): string {
  return key.toString('base64url', key.length - HASH_BYTES)
}

/** All records. */
export function recordRange(): { gte: Buffer; lt: Buffer } {
  return { gte: Buffer.from([RECORD]), lt: Buffer.from([RECORD + 1]) }
}

/** Both indexes. */
export function indexRange(): { gte: Buffer; lt: Buffer } {
  return { gte: Buffer.from([EXPIRY]), lt: Buffer.from([PRINCIPAL + 1]) }
}

/** The records behind the one with this handle. */
export function recordsBehind(handle: string): { gt: Buffer; lt: Buffer } {
  return { gt: recordKey(handle), lt: recordRange().lt }
}

/** `0x04`, hash: a record that did not decode, kept as it was found. */
export function quarantineKey(handle: string): Buffer {
  const key = recordKey(handle)
  key[0] = QUARANTINE
  return key
}

/** `0x07`, hash, number as 6 bytes big-endian: a value that a record keeps apart. */
export function partKey(handle: string, number: number): Buffer {
  const key = Buffer.allocUnsafe(PART_BYTES)
  key[0] = PART
  key.write(handle, 1, 'base64url')
  key.writeUIntBE(number, 1 + HASH_BYTES, PART_NUMBER_BYTES)
  return key
}

/** All values that one session keeps apart. */
export function partRange(handle: string): { gte: Buffer; lt: Buffer } {
  const gte = recordKey(handle)
  gte[0] = PART
  return { gte, lt: successor(gte) }
}

/** Takes the key of a part apart. */
export function parsePartKey(key: Buffer): { handle: string; number: number } {
  return {
    handle: key.toString('base64url', 1, 1 + HASH_BYTES),
    number: key.readUIntBE(1 + HASH_BYTES, PART_NUMBER_BYTES)
  }
}

/** `0x04`, hash, number: a part of a quarantined record. */
export function quarantinedPartKey(key: Buffer): Buffer {
  const quarantined = Buffer.from(key)
  quarantined[0] = QUARANTINE
  return quarantined
}

/** `0x05`, SHA-256 of its name: a lease. */
export function leaseKey(name: string): Buffer {
  return Buffer.concat([Buffer.from([LEASE]), hash('sha256', name, 'buffer')])
}

/** All leases. */
export function leaseRange(): { gte: Buffer; lt: Buffer } {
  return { gte: Buffer.from([LEASE]), lt: Buffer.from([LEASE + 1]) }
}

/** `0x06`, hash: what the session that had this handle goes on as. */
export function successorKey(handle: string): Buffer {
  const key = recordKey(handle)
  key[0] = SUCCESSOR
  return key
}

/** The part of the expiry index from one time until a moment, that moment included. */
export function dueRange(from: number, now: number): { gte: Buffer; lt: Buffer } {
  return { gte: timePrefix(from), lt: timePrefix(Math.floor(now) + 1) }
}

/** Takes an expiry key apart. */
export function parseExpiryKey(key: Buffer): { expiresAt: number; handle: string } {
  return { expiresAt: timeIn(key), handle: key.toString('base64url', 1 + TIME_BYTES) }
}

/** The time in the key of any entry of the expiry index. */
export function timeIn(key: Buffer): number {
  return key.readUInt32BE(1) * 0x1_0000_0000 + key.readUInt32BE(5)
}

function timePrefix(time: number): Buffer {
  const prefix = Buffer.allocUnsafe(1 + TIME_BYTES)
  prefix[0] = EXPIRY
  writeTime(prefix, time)
  return prefix
}

function principalPrefix(principal: string): Buffer {
  return Buffer.concat([Buffer.from([PRINCIPAL]), hash('sha256', principal, 'buffer')])
}

/** The first key after all keys that begin with this one. Its first byte is never 0xff. */
function successor(prefix: Buffer): Buffer {
  const next = Buffer.from(prefix)
  let at = next.length - 1
  while (next[at] === 0xff) at--
  next[at] = (next[at] as number) + 1
  return next.subarray(0, at + 1)
}

function writeTime(key: Buffer, time: number): void {
  const whole = indexTime(time)
  key.writeUInt32BE(Math.floor(whole / 0x1_0000_0000), 1)
  key.writeUInt32BE(whole % 0x1_0000_0000, 5)
}
