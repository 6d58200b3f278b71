import { anyFunction, type Option, optional, readOptions } from '../record/option.js'
import { GuardedStore } from '../store/guarded-store.js'
import { LONG_OPERATION, type LongOperation } from '../store/long-operation.js'
import type { LeftOut, SessionStore } from '../store/session-store.js'
import { sessionStore } from '../store/store-options.js'
import { footerLine, headerLine, recordLine } from './export-format.js'

/** Options of {@link exportSessions}. */
export interface ExportOptions extends LongOperation {
  /**
   * Told of each session that cannot be read and so is left out: its short handle, or `null` for a
   * place that may have held some.
   */
  onUnreadable?: LeftOut
}

const OPTIONS = {
  ...LONG_OPERATION,
  onUnreadable: optional<LeftOut, undefined>(anyFunction, undefined)
} satisfies Record<keyof ExportOptions, Option<unknown>>

/** Lines are gathered up to this many characters: a stream costs per piece, not per byte. */
const PIECE = 64 * 1024

/**
 * All sessions as NDJSON, in pieces: a source for `pipeline()`. It holds their data for all to
 * read, so keep it as you keep the database. What cannot be read is left out.
 *
 * ```ts
 * await pipeline(exportSessions(store), createWriteStream('sessions.ndjson', { mode: 0o600 }))
 * ```
 */
export function exportSessions(
  store: SessionStore,
  options: ExportOptions = {}
): AsyncGenerator<string> {
  const source = GuardedStore.of(sessionStore(store, 'store'))
  readOptions(OPTIONS, options)
  return pieces(source, options)
}

async function* pieces(
  store: SessionStore,
  { onProgress, signal, onUnreadable }: ExportOptions
): AsyncGenerator<string> {
  const total = await estimate(store)
  let piece = headerLine(Date.now())
  let done = 0
  for await (const record of store.records(undefined, onUnreadable)) {
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
  return (await store.stats?.())?.sessions ?? null
}
