import type { SessionRecord } from '../../record/record.js'
import { inOrder } from '../in-order.js'
import { type Known, knownOf, mergeChanges, NO_CHANGES, requireRoom } from '../merge.js'
import type { SessionChanges } from '../session-store.js'
import { changedBeginning } from './beginning.js'
import { decodeSession, encodeSession, type Filing, type StoredSession } from './codec.js'
import type { RedisKeys } from './keys.js'
import { RedisRecord } from './redis-record.js'
import type { RedisServer, Swapped } from './server.js'
import {
  type Attempt,
  newBirth,
  type SessionVersions,
  type Version,
  type WrittenSession
} from './session-versions.js'
import type { UserLists } from './user-lists.js'
import type { WriteMarks } from './write-marks.js'

/** What the writers of one store have in common. */
export interface Writing {
  readonly server: RedisServer
  readonly keys: RedisKeys
  readonly lists: UserLists
  readonly marks: WriteMarks
  readonly versions: SessionVersions
  readonly now: () => number
  /** How large a session may become, in bytes. */
  readonly maxRecordSize: number
}

/** Merges what requests have changed of their records into what is stored by then. */
export class RecordWriter {
  readonly #writing: Writing

  constructor(writing: Writing) {
    this.#writing = writing
  }

  save(record: RedisRecord, changes: SessionChanges | null): Promise<void> {
    return inOrder(record, () =>
      record.stored === null ? this.#begin(record) : this.#merge(record, changes ?? NO_CHANGES)
    )
  }

  async compareAndSet(
    record: RedisRecord,
    key: string,
    expected: string | undefined,
    text: string | undefined
  ): Promise<boolean> {
    let swapped = false
    await inOrder(record, async () => {
      const { versions, maxRecordSize } = this.#writing
      const change = new Map([[key, text]])
      const outcome = await versions.write<{ stored: string; value: string | undefined }>(
        record,
        async (version) => {
          const { session, isCurrent } = version
          knownBy(record, version)
          const found = session.record.data.get(key)
          swapped = found === expected
          if (!swapped && isCurrent) {
            return { done: { stored: version.text, value: found }, text: version.text }
          }
          if (!swapped) return versions.current(record)
          requireRoom(session.record, change, maxRecordSize)
          session.record.apply(key, text)
          const written = await this.#swap(version)
          return 'found' in written
            ? written
            : { done: { stored: written.text, value: text }, text: written.text }
        }
      )
      if (outcome === null) {
        swapped = false
        record.destroyed = true
        return
      }
      record.stored = outcome.stored
      record.apply(key, outcome.value)
      record.learn(key, outcome.value)
    })
    return swapped
  }

  /** Stores records whole, in the place of what is there. */
  async put(records: readonly SessionRecord[]): Promise<void> {
    const outcomes = await Promise.allSettled(records.map((record) => this.#put(record)))
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  /** Resolves to whether the session was there. */
  async destroy(record: RedisRecord): Promise<boolean> {
    const { server, keys, lists } = this.#writing
    // What is on its way would store it again.
    await record.writing
    const { handle, stored } = record
    const found = await server.destroy(keys.record(handle))
    const filing = stored === null ? null : decodeSession(handle, stored).filing
    if (filing !== null) await lists.remove(handle, filing)
    return found
  }

  /** Stores a new session. Nobody else knows its id yet, so there is nothing to merge. */
  async #begin(record: RedisRecord): Promise<void> {
    const { server, keys } = this.#writing
    const session = await this.#first(record)
    const text = encodeSession(session)
    record.known = knownOf(record)
    await server.setText(keys.record(record.handle), text, this.#timeLeft(record))
    record.stored = text
    record.born = session.born
  }

  async #put(record: SessionRecord): Promise<void> {
    const { server, keys } = this.#writing
    const session = await this.#first(record)
    const text = encodeSession(session)
    const known = knownOf(record)
    const key = keys.record(record.handle)
    await server.put(key, session.marks[0], text, this.#timeLeft(record))
    if (!(record instanceof RedisRecord)) return
    record.known = known
    record.stored = text
    record.born = session.born
  }

  async #first(record: SessionRecord): Promise<StoredSession> {
    const { lists, marks } = this.#writing
    const own = marks.after([])
    const filing = await lists.file(record, null, own[0])
    return { marks: own, born: newBirth(), filing, record }
  }

  async #merge(record: RedisRecord, changes: SessionChanges): Promise<void> {
    const { versions, maxRecordSize } = this.#writing
    let own = record as Omit<Known, 'data'>
    const stale: Filing[] = []
    const outcome = await versions.write<WrittenSession>(record, async (version) => {
      const stored = version.session.record
      const known = knownBy(record, version)
      const { createdAt, expiry, principal, metadata } = record
      own = { createdAt, expiry, principal, metadata }
      requireRoom(stored, changes, maxRecordSize)
      mergeChanges(stored, record, known, changes)
      return this.#swap(version, stale)
    })
    if (outcome === null) {
      record.destroyed = true
      await this.#unfile(record.handle, stale)
      return
    }
    const { principal } = outcome.record
    // Another process may have made it somebody else's, which this record has not changed.
    if (record.principal === own.principal) record.principal = principal
    record.known = { ...own, principal, data: record.known?.data ?? new Map() }
    record.stored = outcome.text
    for (const [key, text] of changes) record.learn(key, text)
    await this.#unfile(
      record.handle,
      stale.filter(({ mark }) => mark !== outcome.filing?.mark)
    )
  }

  /**
   * Puts a version, as it was changed, in its own place.
   *
   * @param stale gets what lists have of this session that stands for it no more
   */
  async #swap(version: Version, stale: Filing[] = []): Promise<Attempt<WrittenSession>> {
    const { lists, marks } = this.#writing
    const { session } = version
    const { record, born } = session
    const next = marks.after(session.marks)
    if (session.filing !== null) stale.push(session.filing)
    const filing = await lists.file(record, session.filing, next[0])
    if (filing !== null) stale.push(filing)
    const written = { marks: next, born, filing, record }
    const text = encodeSession(written)
    const { swapped, found } = await this.#write(version, text)
    if (swapped) return { done: { ...written, text }, text }
    // The client has sent it twice, and the server had done it: others have written since.
    if (found === null || !hasMark(found, next[0])) return { found }
    this.#writing.server.requireNoReplicas()
    const later = decodeSession(record.handle, found)
    return { done: { ...later, text: found }, text: found }
  }

  #write({ session, text: from, expiresAt }: Version, text: string): Promise<Swapped> {
    const { server, keys } = this.#writing
    const { record, marks } = session
    const key = keys.record(record.handle)
    const beginning = changedBeginning(from, text)
    if (beginning === null) return server.swap(key, marks[0], text, this.#timeLeft(record))
    const timeLeft = record.expiresAt === expiresAt ? null : this.#timeLeft(record)
    return server.overwrite(key, marks[0], beginning, timeLeft)
  }

  async #unfile(handle: string, stale: readonly Filing[]): Promise<void> {
    const { lists } = this.#writing
    const byMark = new Map(stale.map((filing) => [filing.mark, filing]))
    await Promise.all([...byMark.values()].map((filing) => lists.remove(handle, filing)))
  }

  #timeLeft({ expiresAt }: SessionRecord): number {
    return expiresAt - this.#writing.now()
  }
}

/** What the request began with that has a record; asked for before a version is changed. */
export function knownBy(record: RedisRecord, { session, text }: Version): Known {
  if (record.known === null) {
    // Mostly they are the same.
    const began =
      text === record.stored ? session : decodeSession(record.handle, record.stored ?? '')
    record.known = knownOf(began.record)
  }
  return record.known
}

function hasMark(stored: string, mark: string): boolean {
  return stored.slice(0, stored.indexOf('\n')).includes(mark)
}
