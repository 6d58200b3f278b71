/**
 * Finds one cookie in a Cookie header, without making objects for all the others.
 *
 * A name that occurs twice gives `null`: the browser sends cookies of several paths and domains
 * under one name and does not say which is which, so a second one may have been planted by a
 * neighbouring subdomain ("cookie tossing"; RFC 6265bis, section 8.6).
 */
export function findCookie(header: string, name: string): string | null {
  let found: string | null = null
  let at = 0
  for (;;) {
    const nameAt = header.indexOf(name, at)
    if (nameAt === -1) return found
    at = nameAt + name.length
    if (header.charCodeAt(at) !== EQUALS || !beginsCookie(header, nameAt)) continue
    if (found !== null) return null
    const end = header.indexOf(';', at)
    found = unquote(header.slice(at + 1, end === -1 ? undefined : end).trim())
    if (end === -1) return found
    at = end
  }
}

/** All values of one name in a Cookie header, in its order. */
export function findCookies(header: string, name: string): string[] {
  const values: string[] = []
  for (const pair of header.split(';')) {
    const at = pair.indexOf('=')
    if (at === -1 || pair.slice(0, at).replace(/^[ \t]+/, '') !== name) continue
    values.push(unquote(pair.slice(at + 1).trim()))
  }
  return values
}

const EQUALS = 0x3d
const SEMICOLON = 0x3b
const SPACE = 0x20
const TAB = 0x09

function beginsCookie(header: string, nameAt: number): boolean {
  let before = nameAt - 1
  while (before >= 0) {
    const code = header.charCodeAt(before)
    if (code === SEMICOLON) return true
    if (code !== SPACE && code !== TAB) return false
    before--
  }
  return true
}

function unquote(value: string): string {
  return value.length > 1 && value.startsWith('"') && value.endsWith('"')
    ? value.slice(1, -1)
    : value
}
