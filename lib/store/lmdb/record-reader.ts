import { RecordCorruptError } from '../../errors.js'
import { isHandle } from '../../record/handle.js'
import {
  handleIn,
  parsePrincipalKey,
  principalRange,
  recordKey,
  recordRange
} from '../format/keys.js'
import { decodeRecord } from '../format/record-codec.js'
import { knownOf } from '../merge.js'
import type { LeftOut, StoreContext } from '../session-store.js'
import { leaveOut } from '../unreadable.js'
import type { LmdbRange } from './engine/binding.js'
import type { Database } from './engine/database.js'
import { birthOf } from './engine/version.js'
import { LmdbRecord } from './lmdb-record.js'
import { copyOf, type RecentRecords } from './recent-records.js'

const BATCH = 32
const KEYS_PER_READ = 128

/** Reads what any process has committed so far. */
export class RecordReader {
  readonly #database: Database
  readonly #recent: RecentRecords
  readonly #context: StoreContext

  constructor(database: Database, recent: RecentRecords, context: StoreContext) {
    this.#database = database
    this.#recent = recent
    this.#context = context
  }

  /**
   * What is stored at this moment, whether it is past its time or not.
   *
   * @throws {RecordCorruptError}
   */
  read(handle: string): LmdbRecord | null {
    if (!isHandle(handle)) return null
    const key = recordKey(handle)
    this.#database.refresh()
    const entry = this.#database.read(this.#database.sessions, key)
    if (entry === null) return null
    const record = decodeRecord(handle, entry.bytes, key, LmdbRecord)
    record.known = knownOf(record)
    record.birth = birthOf(entry.version)
    return record
  }

  /**
   * One to work on.
   *
   * @throws {RecordCorruptError}
   */
  load(handle: string): LmdbRecord | null {
    const recent = this.#recent.get(handle)
    const key = recent?.key ?? recordKey(handle)
    this.#database.refresh()
    const version = this.#database.versionOf(this.#database.sessions, key)
    if (version === null) return null
    const stored = this.#recent.read(this.#database, handle, key, version, recent)
    if (stored.expiresAt <= this.#context.now()) return null
    const record = copyOf(stored, LmdbRecord)
    record.known = stored
    record.birth = birthOf(version)
    return record
  }

  /** @throws {RecordCorruptError} */
  readAlive(handle: string): LmdbRecord | null {
    const record = this.read(handle)
    return record !== null && record.expiresAt > this.#context.now() ? record : null
  }

  async *handlesOf(principal: string): AsyncGenerator<string[]> {
    const { gte, lt } = principalRange(principal)
    const range = { start: gte, end: lt, limit: KEYS_PER_READ }
    for await (const keys of this.#walk('indexes', range)) yield keys.map(parsePrincipalKey)
  }

  async *records(after: string | undefined, leftOut: LeftOut): AsyncGenerator<LmdbRecord> {
    const { gte, lt } = recordRange()
    const start = after === undefined ? gte : recordKey(after)
    const range = { start, end: lt, exclusiveStart: after !== undefined, limit: BATCH }
    for await (const keys of this.#walk('sessions', range)) {
      for (const key of keys) {
        const record = this.#readOrLeaveOut(handleIn(key), leftOut)
        if (record !== null) yield record
      }
    }
  }

  #readOrLeaveOut(handle: string, leftOut: LeftOut): LmdbRecord | null {
    try {
      return this.readAlive(handle)
    } catch (error) {
      if (!(error instanceof RecordCorruptError)) throw error
      leaveOut(handle, error, { log: this.#context.log, leftOut })
      return null
    }
  }

  /** A batch at a time: a snapshot that a slow reader keeps would keep all that is deleted meanwhile. */
  async *#walk(
    table: 'sessions' | 'indexes',
    range: LmdbRange & { readonly limit: number }
  ): AsyncGenerator<Buffer[]> {
    for (let rest = range; ; ) {
      this.#database.refresh()
      const keys = this.#database.keys(this.#database[table], rest)
      if (keys.length > 0) yield keys
      const last = keys.at(-1)
      if (last === undefined || keys.length < range.limit) return
      rest = { ...range, start: last, exclusiveStart: true }
    }
  }
}
