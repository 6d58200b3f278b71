/**
 * Finds one cookie in a Cookie header, without making objects for all the others.
 *
 * A name that occurs twice gives `null`: the browser sends cookies of several paths and domains
 * under one name and does not say which is which, so a second one may have been planted by a
 * neighbouring subdomain ("cookie tossing"; RFC 6265bis, section 8.6).
 */
export function findCookie(header: string, name: string): string | null {
  const at = nextValue(header, name, 0)
  if (at === -1 || nextValue(header, name, at) !== -1) return null
  return valueAt(header, at)
}

/** All values of one name in a Cookie header, in its order. */
export function findCookies(header: string, name: string): string[] {
  const values: string[] = []
  for (let at = nextValue(header, name, 0); at !== -1; at = nextValue(header, name, at)) {
    values.push(valueAt(header, at))
  }
  return values
}

const EQUALS = 0x3d
const SEMICOLON = 0x3b
const SPACE = 0x20
const TAB = 0x09

/** Where the value of the next cookie of this name begins, or -1. */
function nextValue(header: string, name: string, from: number): number {
  for (let at = header.indexOf(name, from); at !== -1; at = header.indexOf(name, at)) {
    const begins = beginsCookie(header, at)
    at += name.length
    if (begins && header.charCodeAt(at) === EQUALS) return at + 1
  }
  return -1
}

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

function valueAt(header: string, at: number): string {
  const end = header.indexOf(';', at)
  const value = header.slice(at, end === -1 ? undefined : end).trim()
  return value.length > 1 && value.startsWith('"') && value.endsWith('"')
    ? value.slice(1, -1)
    : value
}
