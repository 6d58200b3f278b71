import { checksum } from '../../format/checksum.js'
import { kindOf, parseExpiryKey, timeIn } from '../../format/keys.js'

const HANDLE_BYTES = 32
const CHECKSUM_BYTES = 4

/** An entry of the expiry index: some sessions that are to be looked at when its time has come. */
export interface ExpiryEntry {
  readonly key: Buffer
  readonly time: number
  readonly handles: readonly string[]
  /** Whether it is as it was written. If not, each handle may be another, and so may the time. */
  readonly sound: boolean
}

/** The handles of a group, one behind the other, and the CRC-32 of its key and of these bytes. */
export function encodeGroup(handles: readonly string[], key: Buffer): Buffer {
  const end = HANDLE_BYTES * handles.length
  const bytes = Buffer.allocUnsafe(end + CHECKSUM_BYTES)
  for (const [at, handle] of handles.entries()) bytes.write(handle, HANDLE_BYTES * at, 'base64url')
  bytes.writeUInt32BE(checksum(key, bytes.subarray(0, end)), end)
  return bytes
}

/** Reads an entry of either kind: for a group, or for the one session that its key names. */
export function readExpiryEntry(key: Buffer, value: Buffer): ExpiryEntry {
  if (kindOf(key) !== 'expiry group') {
    const { expiresAt, handle } = parseExpiryKey(key)
    return { key, time: expiresAt, handles: [handle], sound: true }
  }
  const end = value.length - CHECKSUM_BYTES
  const handles: string[] = []
  for (let at = 0; at + HANDLE_BYTES <= end; at += HANDLE_BYTES) {
    handles.push(value.toString('base64url', at, at + HANDLE_BYTES))
  }
  const sound = end > 0 && value.readUInt32BE(end) === checksum(key, value.subarray(0, end))
  return { key, time: timeIn(key), handles, sound }
}
