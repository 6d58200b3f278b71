import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual
} from 'node:crypto'
import { InvalidOptionError } from '../../errors.js'
import { isSessionId } from '../../record/handle.js'

/** A key of at least 32 bytes: a string of that many, or raw bytes. */
export type CookieKey = string | Uint8Array

/** What a cookie's value holds. */
export interface DecodedCookie {
  readonly id: string
  /** Written with a key that is no longer the first: the visitor should get a fresh cookie. */
  readonly stale: boolean
}

/** How an id is written into a cookie and read back. */
export interface CookieForm {
  /** The cookie's value for an id. */
  encode(id: string): string
  /** What is in a cookie's value, or `null` if this form with these keys has not written it. */
  decode(value: string): DecodedCookie | null
  /** Whether a value that does not decode looks like one that this form writes with other keys. */
  resembles(value: string): boolean
}

/** The id as it is: 256 random bits need no signature to be unguessable. */
export const plainForm: CookieForm = {
  encode: (id) => id,
  decode: (value) => (isSessionId(value) ? { id: value, stale: false } : null),
  resembles: isSessionId
}

const ID_LENGTH = 43
const SIGNED_LENGTH = ID_LENGTH + 1 + 43
const DOT = 0x2e

/**
 * The id, a dot and an HMAC-SHA-256 of cookie name and id. A forged id is refused before the
 * store is asked.
 */
export function signedForm(name: string, keys: readonly CookieKey[]): CookieForm {
  const derived = deriveKeys('signed', keys)
  const sign = (id: string, key: Buffer): string =>
    createHmac('sha256', key).update(`${name}=${id}`).digest('base64url')
  return {
    encode: (id) => `${id}.${sign(id, derived[0] as Buffer)}`,
    decode(value) {
      if (!isSigned(value)) return null
      const id = value.slice(0, ID_LENGTH)
      // As strings: in base64url, two bits of the last character would not count.
      const given = Buffer.from(value.slice(ID_LENGTH + 1))
      const index = derived.findIndex((key) => {
        const expected = Buffer.from(sign(id, key))
        return given.length === expected.length && timingSafeEqual(given, expected)
      })
      return index === -1 ? null : { id, stale: index > 0 }
    },
    resembles: isSigned
  }
}

function isSigned(value: string): boolean {
  return (
    value.length === SIGNED_LENGTH &&
    value.charCodeAt(ID_LENGTH) === DOT &&
    isSessionId(value.slice(0, ID_LENGTH))
  )
}

const IV_BYTES = 12
const ID_BYTES = 32
const TAG_BYTES = 16
const SEALED_BYTES = IV_BYTES + ID_BYTES + TAG_BYTES
const SEALED_LENGTH = (SEALED_BYTES * 4) / 3
const BASE64URL = /^[\w-]+$/

/**
 * The id under AES-256-GCM with a random nonce; the cookie's name is authenticated too, so that a
 * value moved to another cookie does not open.
 */
export function encryptedForm(name: string, keys: readonly CookieKey[]): CookieForm {
  const derived = deriveKeys('encrypted', keys)
  const bound = Buffer.from(name)
  return {
    encode(id) {
      const iv = randomBytes(IV_BYTES)
      const cipher = createCipheriv('aes-256-gcm', derived[0] as Buffer, iv).setAAD(bound)
      const sealed = cipher.update(Buffer.from(id, 'base64url'))
      cipher.final()
      return Buffer.concat([iv, sealed, cipher.getAuthTag()]).toString('base64url')
    },
    decode(value) {
      if (!isSealed(value)) return null
      const bytes = Buffer.from(value, 'base64url')
      for (const [index, key] of derived.entries()) {
        const id = open(bytes, key, bound)
        if (id !== null) return { id, stale: index > 0 }
      }
      return null
    },
    resembles: isSealed
  }
}

/** Decoding is lax: it skips foreign characters, and takes base64's other alphabet as well. */
function isSealed(value: string): boolean {
  return value.length === SEALED_LENGTH && BASE64URL.test(value)
}

function open(bytes: Buffer, key: Buffer, bound: Buffer): string | null {
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES), {
    authTagLength: TAG_BYTES
  })
  decipher.setAAD(bound).setAuthTag(bytes.subarray(IV_BYTES + ID_BYTES))
  const id = decipher.update(bytes.subarray(IV_BYTES, IV_BYTES + ID_BYTES))
  try {
    decipher.final()
  } catch {
    return null
  }
  return id.toString('base64url')
}

const LEAST_KEY_BYTES = 32
const LEAST_DISTINCT_BYTES = 8

/** @throws {InvalidOptionError} for keys that are too short or obviously not random */
function deriveKeys(option: 'signed' | 'encrypted', keys: readonly CookieKey[]): Buffer[] {
  if (!Array.isArray(keys) || keys.length === 0) {
    throw new InvalidOptionError(
      `cookie.${option}`,
      'must be a list of keys, the current one first'
    )
  }
  return keys.map((key) => {
    if (typeof key !== 'string' && !(key instanceof Uint8Array)) {
      throw new InvalidOptionError(
        `cookie.${option}`,
        'has a key that is neither a string nor bytes'
      )
    }
    const bytes = Buffer.from(key)
    if (bytes.length < LEAST_KEY_BYTES || new Set(bytes).size < LEAST_DISTINCT_BYTES) {
      throw new InvalidOptionError(
        `cookie.${option}`,
        `has a weak key: it needs ${LEAST_KEY_BYTES} random bytes or more, as from crypto.randomBytes(32)`
      )
    }
    // A key of its own for each form, so that one secret may safely serve both.
    return Buffer.from(hkdfSync('sha256', bytes, '', `fastify-sled-session ${option}`, 32))
  })
}
