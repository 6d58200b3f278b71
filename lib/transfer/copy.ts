import type { SessionRecord } from '../record/record.js'
import type { LongOperation } from '../store/long-operation.js'
import type { SessionStore } from '../store/session-store.js'
import { RecordWriter } from './batches.js'
import { estimate } from './export.js'

/** What a copy did. */
export interface CopyResult {
  /** Sessions of the source. */
  readonly sessions: number
  /** Those of them that the target did not have, or had otherwise. */
  readonly copied: number
  /** Sessions that the target has and the source does not: they stay. */
  readonly others: number
  /** Sessions that are not in the target as they are in the source, found by a second look. */
  readonly different: number
}

/**
 * Copies all sessions of one store to another and then compares them one by one. Run again, it
 * copies only what differs: so it goes on where it stopped, and catches up with a source that
 * was in use.
 */
export async function copySessions(
  from: SessionStore,
  to: SessionStore,
  { onProgress, signal, now = Date.now }: LongOperation & { now?: () => number } = {}
): Promise<CopyResult> {
  const total = await estimate(from)
  let done = 0
  const check = (): void => {
    signal?.throwIfAborted()
    onProgress?.({ done, total })
  }
  const writer = new RecordWriter(to, check)
  let others = 0
  for await (const [wanted, present] of pairs(from, to)) {
    if (wanted === null) {
      others++
      continue
    }
    done++
    if (present === null || !same(wanted, present)) await writer.add(wanted)
    if (done % PROGRESS_EVERY === 0) check()
  }
  await writer.flush()

  let different = 0
  for await (const [wanted, present] of pairs(from, to)) {
    signal?.throwIfAborted()
    // One that has just run out may be missing in what was read last.
    if (wanted === null || wanted.expiresAt <= now()) continue
    if (present === null || !same(wanted, present)) different++
  }
  return { sessions: done, copied: writer.written, others, different }
}

const PROGRESS_EVERY = 1000

/** The sessions of both by their handles, side by side: stores list them in one order. */
async function* pairs(
  from: SessionStore,
  to: SessionStore
): AsyncGenerator<[SessionRecord | null, SessionRecord | null]> {
  const wanted = from.records()[Symbol.asyncIterator]()
  const present = to.records()[Symbol.asyncIterator]()
  try {
    let [a, b] = await Promise.all([next(wanted), next(present)])
    while (a !== null || b !== null) {
      const order = compare(a, b)
      yield [order <= 0 ? a : null, order >= 0 ? b : null]
      ;[a, b] = await Promise.all([order <= 0 ? next(wanted) : a, order >= 0 ? next(present) : b])
    }
  } finally {
    await Promise.all([wanted.return?.(), present.return?.()])
  }
}

async function next(walk: AsyncIterator<SessionRecord>): Promise<SessionRecord | null> {
  const { done, value } = await walk.next()
  return done === true ? null : value
}

/** By the bytes of the handle; the end comes behind all. */
function compare(a: SessionRecord | null, b: SessionRecord | null): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null)
  return Buffer.from(a.handle, 'base64url').compare(Buffer.from(b.handle, 'base64url'))
}

/** Keys in whatever order: a store need not keep it. */
function same(a: SessionRecord, b: SessionRecord): boolean {
  if (a.data.size !== b.data.size) return false
  for (const [key, text] of a.data) if (b.data.get(key) !== text) return false
  return withoutData(a) === withoutData(b)
}

function withoutData(record: SessionRecord): string {
  const { handle, createdAt, lastSeenAt, expiresAt, expiry, principal, metadata } = record
  return JSON.stringify([handle, createdAt, lastSeenAt, expiresAt, expiry, principal, metadata])
}
