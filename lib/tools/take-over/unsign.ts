import { createHmac, timingSafeEqual } from 'node:crypto'

/** Long enough for every id that these packages make, short enough to cost nothing. */
const LONGEST = 512
const EXPRESS_MARK = 's:'

/**
 * The session id in a cookie of express-session (`s:<id>.<signature>`, percent-encoded) or of
 * @fastify/session (`<id>.<signature>`), or `null` unless one of the secrets has signed it with
 * HMAC-SHA-256, as the package cookie-signature does.
 */
export function unsign(value: string, secrets: readonly string[]): string | null {
  const signed = value.length > LONGEST ? null : decode(value)
  if (signed === null) return null
  const dot = signed.lastIndexOf('.')
  if (dot < 1) return null
  const id = signed.slice(0, dot)
  const given = Buffer.from(signed.slice(dot + 1))
  const isSigned = secrets.some((secret) => {
    const signature = createHmac('sha256', secret).update(id).digest('base64').replace(/=+$/, '')
    const expected = Buffer.from(signature)
    return given.length === expected.length && timingSafeEqual(given, expected)
  })
  return isSigned ? id : null
}

function decode(value: string): string | null {
  try {
    const decoded = decodeURIComponent(value)
    return decoded.startsWith(EXPRESS_MARK) ? decoded.slice(EXPRESS_MARK.length) : decoded
  } catch {
    return null
  }
}
