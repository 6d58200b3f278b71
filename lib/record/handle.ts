import { hash, randomFillSync } from 'node:crypto'

const ID_BYTES = 32
const POOL_BYTES = 128 * ID_BYTES

// 32 bytes in base64url: 42 free characters and a last one whose two lowest bits are zero. With
// those bits set, a decoder would read the same bytes: one key would have four names.
const CANONICAL = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/

const pool = Buffer.allocUnsafeSlow(POOL_BYTES)
let used = POOL_BYTES

/**
 * A new session id: 256 bits from the operating system's CSPRNG in base64url, 43 characters.
 * OWASP asks for at least 64 bits of entropy.
 */
export function createSessionId(): string {
  // One system call for many ids; used bytes are wiped so that a heap dump does not hold them twice.
  if (used === POOL_BYTES) {
    randomFillSync(pool)
    used = 0
  }
  const end = used + ID_BYTES
  const id = pool.toString('base64url', used, end)
  pool.fill(0, used, end)
  used = end
  return id
}

/** Whether a string has the exact form of an id that `createSessionId` issues. */
export function isSessionId(value: string): boolean {
  return value.length === 43 && CANONICAL.test(value)
}

/** Whether a value has the exact form of a handle, or of an id, which is the same. */
export function isHandle(value: unknown): value is string {
  return typeof value === 'string' && isSessionId(value)
}

/**
 * The handle of a session: SHA-256 of its id in base64url. Stores know a session by its handle
 * alone, so that a stolen database logs nobody in.
 */
export function handleOf(id: string): string {
  return hash('sha256', id, 'base64url')
}

/** The order in which stores walk: that of the bytes that handles stand for. */
export function compareHandles(one: string, other: string): number {
  return Buffer.from(one, 'base64url').compare(Buffer.from(other, 'base64url'))
}

/** A short form of a handle that is fit for log lines. */
export function shortHandle(handle: string): string {
  return handle.slice(0, 8)
}
