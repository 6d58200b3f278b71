import { InvalidOptionError } from '../../errors.js'
import {
  type Check,
  type Checked,
  flag,
  type Option,
  oneOf,
  option,
  optional,
  readOptions,
  refuse
} from '../../record/option.js'
import { type CookieForm, type CookieKey, encryptedForm, plainForm, signedForm } from './form.js'

/** Attributes of the session cookie; see RFC 6265bis, section 4.1.2. */
export interface CookieOptions {
  /** Default `id`: OWASP asks for a name that says nothing. `__Host-` and `__Secure-` are checked. */
  name?: string
  /** Default `/`. */
  path?: string
  /** Default none: only the host that set the cookie gets it back. */
  domain?: string
  /** Default true: scripts cannot read the cookie. */
  httpOnly?: boolean
  /** Default `lax`. `none` needs `secure: true`. */
  sameSite?: 'strict' | 'lax' | 'none'
  /** Default false. Needs `secure: true`. */
  partitioned?: boolean
  /** Default none. */
  priority?: 'low' | 'medium' | 'high'
  /** Signs the cookie with the first of these keys and accepts all of them. Default unsigned. */
  signed?: readonly CookieKey[]
  /** Encrypts the cookie with the first of these keys and accepts all of them. Default plain. */
  encrypted?: readonly CookieKey[]
}

/** `auto` sets Secure on requests that came by https; behind a proxy, with Fastify's `trustProxy`. */
export type SecureOption = boolean | 'auto'

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const PATH = /^\/[\x20-\x3a\x3c-\x7e]*$/
const DOMAIN = /^\.?(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*$/

export const cookieName: Check<string> = matching(TOKEN, 'must be a token (RFC 9110)')
export const cookiePath: Check<string> = matching(PATH, 'must begin with "/" and hold no ";"')
export const cookieDomain: Check<string> = matching(DOMAIN, 'must be a host name')

const ATTRIBUTES = {
  name: option(cookieName, 'id'),
  path: option(cookiePath, '/'),
  domain: optional(cookieDomain, undefined),
  httpOnly: option(flag, true),
  sameSite: option(oneOf('strict', 'lax', 'none'), 'lax'),
  partitioned: option(flag, false),
  priority: optional(oneOf('low', 'medium', 'high'), undefined),
  // Checked with the name, to which they are bound.
  signed: optional((keys) => keys as readonly CookieKey[], undefined),
  encrypted: optional((keys) => keys as readonly CookieKey[], undefined)
} satisfies Record<keyof CookieOptions, Option<unknown>>

const NAMING = {
  prefix: 'cookie.',
  hints: {
    secure: 'set "secure" beside "cookie"',
    maxAge: 'the cookie follows the session; use expiry: onInactivity(…) beside "cookie"',
    expires: 'the cookie follows the session; use expiry: atDateTime(…) beside "cookie"',
    originalMaxAge: 'the cookie follows the session; use expiry: onInactivity(…) beside "cookie"'
  }
}

/** The checked attributes as strings, so that a response only joins strings. */
export interface CookieAttributes {
  readonly name: string
  readonly secure: SecureOption
  readonly form: CookieForm
  readonly path: string
  /** Everything but Max-Age and Secure. */
  readonly suffix: string
}

/** @throws {InvalidOptionError} for what RFC 6265bis does not allow or browsers would refuse */
export function checkCookieOptions(options: CookieOptions, secure: SecureOption): CookieAttributes {
  const given = readOptions(ATTRIBUTES, options, NAMING)
  const { name, path, sameSite, partitioned } = given
  check(sameSite !== 'none' || secure === true, 'sameSite', '"none" needs secure: true')
  check(!partitioned || secure === true, 'partitioned', 'needs secure: true')
  checkPrefix(given, secure)
  return { name, secure, form: chooseForm(given), path, suffix: suffixOf(given) }
}

type Given = Checked<typeof ATTRIBUTES>

function chooseForm({ name, signed, encrypted }: Given): CookieForm {
  check(
    signed === undefined || encrypted === undefined,
    'signed',
    'cannot stand beside "encrypted", which authenticates as well'
  )
  if (signed !== undefined) return signedForm(name, signed)
  if (encrypted !== undefined) return encryptedForm(name, encrypted)
  return plainForm
}

function matching(pattern: RegExp, problem: string): Check<string> {
  return (value, name) => {
    if (typeof value !== 'string' || !pattern.test(value)) refuse(name, problem)
    return value
  }
}

function check(holds: boolean, option: string, problem: string): void {
  if (!holds) throw new InvalidOptionError(`cookie.${option}`, problem)
}

function checkPrefix({ name, path, domain }: Given, secure: SecureOption): void {
  // Browsers compare prefixes without regard to case.
  const lower = name.toLowerCase()
  if (lower.startsWith('__secure-')) {
    check(secure === true, 'name', 'with the prefix __Secure- needs secure: true')
  }
  if (lower.startsWith('__host-')) {
    check(
      secure === true && path === '/' && domain === undefined,
      'name',
      'with the prefix __Host- needs secure: true, path "/" and no domain'
    )
  }
}

function suffixOf(options: Given): string {
  let suffix = `; Path=${options.path}`
  if (options.domain !== undefined) suffix += `; Domain=${options.domain}`
  if (options.httpOnly) suffix += '; HttpOnly'
  suffix += `; SameSite=${capitalized(options.sameSite)}`
  if (options.partitioned) suffix += '; Partitioned'
  if (options.priority !== undefined) suffix += `; Priority=${capitalized(options.priority)}`
  return suffix
}

function capitalized(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1)
}

/**
 * A Set-Cookie header's value.
 *
 * @param maxAge in ms, or `null` for a cookie that ends with the browser's session
 */
export function setCookieHeader(
  attributes: CookieAttributes,
  value: string,
  maxAge: number | null,
  secure: boolean
): string {
  let header = `${attributes.name}=${value}`
  // Rounded up, so that the cookie never dies before the session.
  if (maxAge !== null) header += `; Max-Age=${Math.ceil(maxAge / 1000)}`
  header += attributes.suffix
  return secure ? `${header}; Secure` : header
}
