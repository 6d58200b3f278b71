import { pause } from '../../timers.js'
import { difference, knownOf, mergeChanges, SUCCESSOR_TIME } from '../merge.js'
import { isRefusal } from './client.js'
import {
  decodeSession,
  encodeMoved,
  encodeSession,
  type Filing,
  movedTo,
  type StoredSession
} from './codec.js'
import type { Writing } from './record-writer.js'
import type { RedisRecord } from './redis-record.js'
import type { Version } from './session-versions.js'

/** How often a renewal is taken back in vain, with a pause in ms between, before it is given up. */
const MOST_ATTEMPTS = 120
const PAUSE = 500

/** A renewal on its way: what may be stored of the fresh session, and of the one before. */
export interface Renewal {
  readonly old: RedisRecord
  readonly fresh: RedisRecord
  readonly filings: Map<string, Filing>
  /** The version that may have been replaced by now, and what is stored in its stead. */
  replaced: Version | null
  written: StoredSession | null
}

/**
 * Takes renewals back. Where the server has not answered nobody knows what it has done, and the
 * visitor has the old id: so the session goes back to that as soon as the server answers.
 *
 * That is a renewal the other way round, in an order which never revives what somebody has ended:
 * first the fresh session gives way to a note of the old one. Only if it was there does the old one
 * take the place of the note of the fresh one, with what others have changed meanwhile; and whoever
 * ends the session while there are but two notes takes these out.
 */
export class TakeBacks {
  readonly #writing: Writing
  /** By the former handle: the attempt that is under way, or has failed. */
  readonly #unsettled = new Map<string, Promise<void>>()
  #closed = false

  constructor(writing: Writing) {
    this.#writing = writing
  }

  settling(handle: string): Promise<void> | undefined {
    return this.#unsettled.get(handle)
  }

  close(): void {
    this.#closed = true
  }

  /** Resolves when it is done, or given up. */
  async begin(renewal: Renewal): Promise<void> {
    const { handle } = renewal.old
    const taking = new TakeBack(this.#writing, renewal)
    for (let attempt = 0; attempt < MOST_ATTEMPTS && !this.#closed; attempt++) {
      const restoring = taking.try()
      if (renewal.replaced !== null) this.#unsettled.set(handle, restoring)
      try {
        await restoring
        break
      } catch {
        await pause(PAUSE, undefined, { ref: false })
      }
    }
    this.#unsettled.delete(handle)
  }
}

/** One renewal that is taken back. */
class TakeBack {
  readonly #writing: Writing
  readonly #renewal: Renewal
  /** The fresh session as it was when it gave way, unless that has yet to come. */
  #taken = ''
  /** Of the list entry of what is put back. */
  readonly #mark: string

  constructor(writing: Writing, renewal: Renewal) {
    this.#writing = writing
    this.#renewal = renewal
    this.#mark = writing.marks.after([])[0]
  }

  async try(): Promise<void> {
    const { replaced, written } = this.#renewal
    if (replaced !== null && written !== null) await this.#settle(replaced, written)
    await forget(this.#writing, this.#renewal)
  }

  async #settle(replaced: Version, written: StoredSession): Promise<void> {
    const { server, keys, lists } = this.#writing
    const { old, fresh } = this.#renewal
    const key = keys.record(old.handle)
    const moved = encodeMoved(fresh.handle)
    // It still is what it was, or others have gone on with it.
    if ((await this.#fence(replaced)) !== moved) return
    const found = await server.text(keys.record(fresh.handle))
    if (found === null) {
      await server.remove(key, moved)
      return
    }
    const next = movedTo(found)
    if (next === null) await this.#take(found)
    else if (next !== old.handle) return
    const session = await this.#restored(replaced.session, written)
    const text = encodeSession(session)
    const { swapped } = await server.swap(key, moved, text, this.#timeLeft(session))
    const stale = swapped ? replaced.session.filing : session.filing
    if (stale !== null) await lists.remove(old.handle, stale)
  }

  /**
   * Gives the version that was to be replaced a new mark: the client may yet try again to replace it
   * by the former one. Resolves to what is there instead.
   */
  async #fence({ session }: Version): Promise<string | null> {
    const { server, keys, marks } = this.#writing
    const key = keys.record(this.#renewal.old.handle)
    const text = encodeSession({ ...session, marks: marks.after(session.marks) })
    try {
      return (await server.swap(key, session.marks[0], text, this.#timeLeft(session))).found
    } catch (error) {
      // A server that is full has not replaced it either.
      if (!isRefusal(error)) throw error
      return server.text(key)
    }
  }

  async #take(found: string): Promise<void> {
    const { server, keys } = this.#writing
    const { old, fresh } = this.#renewal
    // First: if the reply is lost, the next attempt finds the note.
    this.#taken = found
    const [mark] = decodeSession(fresh.handle, found).marks
    const back = encodeMoved(old.handle)
    const key = keys.record(fresh.handle)
    const { swapped } = await server.swap(key, mark, back, SUCCESSOR_TIME)
    if (!swapped) throw new Error('other processes keep changing the session')
  }

  /** As the session was, with what others have changed of it under its new handle. */
  async #restored(session: StoredSession, written: StoredSession): Promise<StoredSession> {
    const { lists, marks } = this.#writing
    const { fresh, filings } = this.#renewal
    const taken = decodeSession(fresh.handle, this.#taken)
    const record = session.record.copy()
    // What was changed for a user who has not logged in after all is nothing for this one.
    if (written.record.principal === record.principal) {
      const known = knownOf(written.record)
      mergeChanges(record, taken.record, known, difference(known.data, taken.record.data))
    }
    if (taken.filing !== null) filings.set(taken.filing.mark, taken.filing)
    // A new entry: writers elsewhere that find the session gone take out the one that it had.
    const filing = await lists.file(record, null, this.#mark)
    return { ...session, marks: marks.after(session.marks), filing, record }
  }

  #timeLeft({ record }: StoredSession): number {
    return record.expiresAt - this.#writing.now()
  }
}

/** Ends the fresh session of a renewal that did not come about. */
export async function forget({ server, keys, lists }: Writing, renewal: Renewal): Promise<void> {
  const { fresh, filings } = renewal
  await server.destroy(keys.record(fresh.handle))
  for (const filing of filings.values()) await lists.remove(fresh.handle, filing)
}
