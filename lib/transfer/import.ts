import { ImportRefusedError } from '../errors.js'
import { clock, option, readOptions, refuse } from '../record/option.js'
import type { SessionRecord } from '../record/record.js'
import { LONG_OPERATION, type LongOperation } from '../store/long-operation.js'
import type { SessionStore } from '../store/session-store.js'
import { sessionStore } from '../store/storage-options.js'
import { RecordWriter } from './batches.js'
import { type Line, LineProblem, parseLine } from './export-format.js'
import { linesOf } from './lines-of.js'

/** What an import did. */
export interface ImportResult {
  /** Sessions stored, new or in the place of those with the same handle. */
  readonly imported: number
  /** Sessions that are past their time by now, and were left out. */
  readonly expired: number
}

/**
 * Stores the sessions of an export. Each takes the place of a stored one with the same handle, so
 * that an import that stopped can simply be run again.
 *
 * @param source the text of an export, in pieces: a file stream, a request's body
 * @throws {ImportRefusedError} naming the first line that is wrong, and nothing that stands in it;
 *   what came before it may be stored
 */
export async function importSessions(
  store: SessionStore,
  source: AsyncIterable<string | Uint8Array>,
  options: LongOperation & { now?: () => number } = {}
): Promise<ImportResult> {
  sessionStore(store, 'store')
  const pieces: unknown = (source as Partial<typeof source> | null)?.[Symbol.asyncIterator]
  if (typeof pieces !== 'function') refuse('source', 'must be a stream or another async iterable')
  const { onProgress, signal, now } = readOptions(OPTIONS, options)
  let expired = 0
  const writer = new RecordWriter(store, (written) => {
    signal?.throwIfAborted()
    onProgress?.({ done: written + expired, total: null })
  })
  for await (const record of recordsIn(source)) {
    if (record.expiresAt <= now()) expired++
    else await writer.add(record)
  }
  await writer.flush()
  return { imported: writer.written, expired }
}

const OPTIONS = { ...LONG_OPERATION, now: option(clock, Date.now) }

/** The records of an export, each line checked, and at the end that all lines have come. */
async function* recordsIn(
  source: AsyncIterable<string | Uint8Array>
): AsyncGenerator<SessionRecord> {
  let number = 0
  let records = 0
  let footer: number | null = null
  for await (const text of linesOf(source)) {
    const line = parse(text, ++number)
    if (footer !== null) throw new ImportRefusedError(number, 'stands behind the last one')
    if ((line.kind === 'header') !== (number === 1)) {
      const problem = number === 1 ? 'does not begin an export' : 'begins another export'
      throw new ImportRefusedError(number, problem)
    }
    if (line.kind === 'footer') footer = line.sessions
    if (line.kind !== 'record') continue
    records++
    yield line.record
  }
  if (footer === null) {
    throw new ImportRefusedError(number + 1, 'is missing: the export was cut off')
  }
  if (footer !== records) {
    throw new ImportRefusedError(number, `says ${footer} sessions, but ${records} have come`)
  }
}

function parse(text: string, number: number): Line {
  try {
    return parseLine(text)
  } catch (error) {
    if (error instanceof LineProblem) throw new ImportRefusedError(number, error.message)
    throw error
  }
}
