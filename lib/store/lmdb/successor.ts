import { successorKey } from '../format/keys.js'
import type { Database } from './engine/database.js'

/** What a session that was renewed goes on as. */
export interface Successor {
  readonly handle: string
  /** When that is forgotten, in ms since 1970. */
  readonly until: number
}

const TIME_BYTES = 8

/** When it is forgotten, as a double, and the hash of its handle. */
export function encodeSuccessor(handle: string, until: number): Buffer {
  const time = Buffer.allocUnsafe(TIME_BYTES)
  time.writeDoubleBE(until)
  return Buffer.concat([time, Buffer.from(handle, 'base64url')])
}

/** Of the session that had this handle; `null` if there is none, or none any more. */
export function readSuccessor(database: Database, handle: string, now: number): string | null {
  const entry = database.read(database.indexes, successorKey(handle))
  if (entry === null || entry.bytes.readDoubleBE(0) <= now) return null
  return entry.bytes.toString('base64url', TIME_BYTES)
}
