import type { SessionRecord } from '../../record/record.js'
import type { SessionStore } from '../../store/session-store.js'
import type { CookieAttributes } from './attributes.js'
import type { DecodedCookie } from './form.js'
import { findCookie, findCookies } from './header.js'

/** So many sessions are looked up for one request at most, whatever is planted. */
const MOST_CANDIDATES = 4

/**
 * What the session cookies of a Cookie header name. A browser sends several after a change of the
 * cookie's path or domain, as the old one stays beside the new one.
 *
 * @returns one, or several of which at most one may be live; `null` for none, or too many
 */
export function decodeCookies(
  header: string,
  { name, form }: CookieAttributes
): DecodedCookie | DecodedCookie[] | null {
  const value = findCookie(header, name)
  if (value !== null) return form.decode(value)
  const found = new Map<string, DecodedCookie>()
  for (const each of new Set(findCookies(header, name))) {
    const decoded = form.decode(each)
    if (decoded !== null && found.get(decoded.id)?.stale !== false) found.set(decoded.id, decoded)
    if (found.size > MOST_CANDIDATES) return null
  }
  const candidates = [...found.values()]
  if (candidates.length > 1) return candidates
  return candidates[0] ?? null
}

/** A session that was found. */
export interface Found {
  readonly cookie: DecodedCookie
  readonly record: SessionRecord
}

/**
 * The one of several candidates that is a live session. Two that are live leave the request
 * without a session: a neighbouring subdomain may have planted one of them.
 *
 * @throws whatever the store throws
 */
export async function findLive(
  store: SessionStore,
  candidates: readonly DecodedCookie[]
): Promise<Found | 'none' | 'ambiguous'> {
  const loading = candidates.map(async (cookie) => ({
    cookie,
    record: await store.load(cookie.id)
  }))
  const loaded = await Promise.all(loading)
  const live = loaded.filter(({ record }) => record !== null) as Found[]
  return live.length > 1 ? 'ambiguous' : (live[0] ?? 'none')
}
