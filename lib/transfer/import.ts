import { ImportRefusedError } from '../errors.js'
import { bytes, clock, type Option, option, readOptions, refuse } from '../record/option.js'
import type { SessionRecord } from '../record/record.js'
import { GuardedStore } from '../store/guarded-store.js'
import { LONG_OPERATION, type LongOperation } from '../store/long-operation.js'
import type { SessionStore } from '../store/session-store.js'
import { sessionStore } from '../store/store-options.js'
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

/** Options of {@link importSessions}. */
export interface ImportOptions extends LongOperation {
  /**
   * The most bytes that one session may hold, as the plugin's option; a larger one is refused.
   * It bounds the memory that a line takes, too. Default 65,536.
   */
  maxRecordSize?: number
  /** The clock, in ms since 1970. Default the system's. */
  now?: () => number
}

const MIB = 1024 * 1024
/** As much as JSON makes of data and metadata at most, with each character escaped. */
const LINE_PER_BYTE = 16
/** For the times, the user and the handle. */
const LINE_BEYOND_DATA = 16 * 1024
const LONGEST_LINE = 64 * MIB

/**
 * Stores the sessions of an export. Each takes the place of a stored one with the same handle, so
 * that an import that stopped can simply be run again. Whoever may import can log in as anyone: the
 * handle of a line is the hash of an id that its writer may know, and its principal is believed.
 *
 * ```ts
 * const { imported } = await importSessions(store, createReadStream('sessions.ndjson'))
 * ```
 *
 * @param source an export, in pieces: a file stream, a request's body
 * @throws {ImportRefusedError} naming the first line that is wrong, and nothing that stands in it;
 *   what came before it may be stored
 */
export async function importSessions(
  store: SessionStore,
  source: AsyncIterable<string | Uint8Array>,
  options: ImportOptions = {}
): Promise<ImportResult> {
  const target = GuardedStore.of(sessionStore(store, 'store'))
  const pieces: unknown = (source as Partial<typeof source> | null)?.[Symbol.asyncIterator]
  if (typeof pieces !== 'function') refuse('source', 'must be a stream or another async iterable')
  const { onProgress, signal, now, maxRecordSize } = readOptions(OPTIONS, options)
  let expired = 0
  const writer = new RecordWriter(target, (written) => {
    signal?.throwIfAborted()
    onProgress?.({ done: written + expired, total: null })
  })
  for await (const record of recordsIn(source, maxRecordSize)) {
    if (record.expiresAt <= now()) expired++
    else await writer.add(record)
  }
  await writer.flush()
  return { imported: writer.written, expired }
}

const OPTIONS = {
  ...LONG_OPERATION,
  maxRecordSize: option(bytes(256, 16 * MIB), 65_536),
  now: option(clock, Date.now)
} satisfies Record<keyof ImportOptions, Option<unknown>>

/** The records of an export, each line checked, and at the end that all lines have come. */
async function* recordsIn(
  source: AsyncIterable<string | Uint8Array>,
  maxRecordSize: number
): AsyncGenerator<SessionRecord> {
  const tooLarge = `has more than a session may hold, ${maxRecordSize} bytes: "maxRecordSize" sets that`
  const longest = Math.min(LONGEST_LINE, LINE_PER_BYTE * maxRecordSize + LINE_BEYOND_DATA)
  let number = 0
  let records = 0
  let footer: number | null = null
  for await (const json of linesOf(source, longest, tooLarge)) {
    const line = parse(json, ++number)
    if (footer !== null) throw new ImportRefusedError(number, 'stands behind the last one')
    if ((line.kind === 'header') !== (number === 1)) {
      const problem = number === 1 ? 'does not begin an export' : 'begins another export'
      throw new ImportRefusedError(number, problem)
    }
    if (line.kind === 'footer') footer = line.sessions
    if (line.kind !== 'record') continue
    const { size, metadata } = line.record
    if (size > maxRecordSize || Buffer.byteLength(metadata ?? '') > maxRecordSize) {
      throw new ImportRefusedError(number, tooLarge)
    }
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

function parse(json: string, number: number): Line {
  try {
    return parseLine(json)
  } catch (error) {
    if (error instanceof LineProblem) throw new ImportRefusedError(number, error.message)
    throw error
  }
}
