import { storeFailure } from '../errors.js'
import { checkLongOperation, type LongOperation } from '../store/long-operation.js'
import type { SessionStore } from '../store/session-store.js'
import { sessionStore } from '../store/storage-options.js'
import { footerLine, headerLine, recordLine } from './export-format.js'

/** Lines are gathered up to this many characters: a stream costs per piece, not per byte. */
const PIECE = 64 * 1024

/**
 * All sessions as NDJSON, in pieces of text: a source for `pipeline()`. It holds their data as
 * plain text, so keep it as you keep the database.
 */
export function exportSessions(
  store: SessionStore,
  options: LongOperation = {}
): AsyncGenerator<string> {
  sessionStore(store, 'store')
  checkLongOperation(options)
  return pieces(store, options)
}

async function* pieces(
  store: SessionStore,
  { onProgress, signal }: LongOperation
): AsyncGenerator<string> {
  const total = await estimate(store)
  let piece = headerLine(Date.now())
  let done = 0
  for await (const record of store.records()) {
    piece += recordLine(record)
    done++
    if (piece.length < PIECE) continue
    signal?.throwIfAborted()
    onProgress?.({ done, total })
    yield piece
    piece = ''
  }
  yield piece + footerLine(done)
  onProgress?.({ done, total: done })
}

/** About how many sessions a store holds. */
export async function estimate(store: SessionStore): Promise<number | null> {
  try {
    return (await store.stats?.())?.sessions ?? null
  } catch (error) {
    throw storeFailure('read its statistics', error)
  }
}
