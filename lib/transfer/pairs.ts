import { compareHandles } from '../record/handle.js'
import type { SessionRecord } from '../record/record.js'
import type { LeftOut, SessionStore } from '../store/session-store.js'
import { type Pair, sideBySide } from '../store/side-by-side.js'

/** The sessions of both by their handles, side by side: stores list them in one order. */
export function pairs(
  from: SessionStore,
  to: SessionStore,
  leftOut: LeftOut = () => {}
): AsyncGenerator<Pair<SessionRecord>> {
  return sideBySide(from.records(undefined, leftOut), to.records(), (one, other) =>
    compareHandles(one.handle, other.handle)
  )
}

/** In any order of the keys, which stores need not keep. */
export function same(a: SessionRecord, b: SessionRecord): boolean {
  if (a.data.size !== b.data.size) return false
  for (const [key, text] of a.data) if (b.data.get(key) !== text) return false
  return withoutData(a) === withoutData(b)
}

function withoutData(record: SessionRecord): string {
  const { handle, createdAt, lastSeenAt, expiresAt, expiry, principal, metadata } = record
  return JSON.stringify([handle, createdAt, lastSeenAt, expiresAt, expiry, principal, metadata])
}
