import { compareHandles } from '../record/handle.js'
import type { SessionRecord } from '../record/record.js'
import type { LeftOut, SessionStore } from '../store/session-store.js'

/** The session of a handle in the source and in the target, of which one may be missing. */
export type Pair = readonly [SessionRecord, SessionRecord | null] | readonly [null, SessionRecord]

/** The sessions of both by their handles, side by side: stores list them in one order. */
export async function* pairs(
  from: SessionStore,
  to: SessionStore,
  leftOut: LeftOut = () => {}
): AsyncGenerator<Pair> {
  const wanted = from.records(undefined, leftOut)[Symbol.asyncIterator]()
  const present = to.records()[Symbol.asyncIterator]()
  try {
    let [a, b] = await Promise.all([next(wanted), next(present)])
    while (a !== null || b !== null) {
      const order = compare(a, b)
      yield [order <= 0 ? a : null, order >= 0 ? b : null] as Pair
      ;[a, b] = await Promise.all([order <= 0 ? next(wanted) : a, order >= 0 ? next(present) : b])
    }
  } finally {
    await Promise.all([wanted.return?.(), present.return?.()])
  }
}

/** In any order of the keys, which stores need not keep. */
export function same(a: SessionRecord, b: SessionRecord): boolean {
  if (a.data.size !== b.data.size) return false
  for (const [key, text] of a.data) if (b.data.get(key) !== text) return false
  return withoutData(a) === withoutData(b)
}

async function next(walk: AsyncIterator<SessionRecord>): Promise<SessionRecord | null> {
  const { done, value } = await walk.next()
  return done === true ? null : value
}

/** By the bytes of the handle; the end of a walk sorts last. */
function compare(a: SessionRecord | null, b: SessionRecord | null): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null)
  return compareHandles(a.handle, b.handle)
}

function withoutData(record: SessionRecord): string {
  const { handle, createdAt, lastSeenAt, expiresAt, expiry, principal, metadata } = record
  return JSON.stringify([handle, createdAt, lastSeenAt, expiresAt, expiry, principal, metadata])
}
