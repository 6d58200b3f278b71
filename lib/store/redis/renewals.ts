import { SessionRecord } from '../../record/record.js'
import { renewInOrder } from '../in-order.js'
import { checkGrowth, knownOf, mergeInto, SUCCESSOR_TIME } from '../merge.js'
import { encodeMoved, encodeSession } from './codec.js'
import { knownBy, type Writing } from './record-writer.js'
import type { RedisRecord } from './redis-record.js'
import { type Attempt, newBirth, type Version, type WrittenSession } from './session-versions.js'
import { forget, type Renewal, TakeBacks } from './take-backs.js'

/**
 * Moves sessions to other ids, and so to other slots: first the fresh session is stored, which
 * nobody can use yet, then the old one gives way to a note of where it goes on, if it still is what
 * was taken over; else it is taken over again.
 */
export class Renewals {
  readonly #writing: Writing
  readonly #takeBacks: TakeBacks

  constructor(writing: Writing) {
    this.#writing = writing
    this.#takeBacks = new TakeBacks(writing)
  }

  /**
   * Resolves when it is known again whether the session goes on under this handle; rejects if that
   * takes longer. None if nothing is amiss.
   */
  settling(handle: string): Promise<void> | undefined {
    return this.#takeBacks.settling(handle)
  }

  close(): void {
    this.#takeBacks.close()
  }

  replace(
    old: RedisRecord,
    fresh: RedisRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean> {
    return renewInOrder(old, fresh, async () => {
      if (old.stored === null) return false
      const renewal: Renewal = { old, fresh, filings: new Map(), replaced: null, written: null }
      try {
        return await this.#move(renewal, keep)
      } catch (error) {
        void this.#takeBacks.begin(renewal)
        throw error
      }
    })
  }

  async #move(renewal: Renewal, keep: boolean | readonly string[]): Promise<boolean> {
    const { old, fresh, filings } = renewal
    const { versions, lists } = this.#writing
    let own = knownOf(fresh)
    const target = await versions.write(old, (version) => {
      own = knownOf(fresh)
      const record = new SessionRecord(fresh)
      mergeInto(record, version.session.record, fresh, knownBy(old, version), keep)
      return this.#attempt(renewal, version, record)
    })
    if (target === null) {
      await forget(this.#writing, renewal)
      return false
    }
    const { principal } = target.record
    // What was changed meanwhile is not stored yet.
    if (fresh.principal === own.principal) fresh.principal = principal
    fresh.known = { ...own, principal }
    fresh.stored = target.text
    fresh.born = target.born
    if (target.filing !== null) filings.delete(target.filing.mark)
    for (const filing of filings.values()) await lists.remove(fresh.handle, filing)
    const before = renewal.replaced?.session.filing ?? null
    if (before !== null) await lists.remove(old.handle, before)
    return true
  }

  async #attempt(
    renewal: Renewal,
    version: Version,
    record: SessionRecord
  ): Promise<Attempt<WrittenSession>> {
    const { server, keys, lists, marks, now, maxRecordSize } = this.#writing
    const { old, fresh, filings } = renewal
    const before = Math.max(fresh.size, version.session.record.size)
    checkGrowth(record.size, before, fresh.data, maxRecordSize)
    const own = marks.after([])
    // Each attempt has an entry of its own: who ends what the last one stored takes out that one's.
    const filing = await lists.file(record, null, own[0])
    if (filing !== null) filings.set(filing.mark, filing)
    const written = { marks: own, born: newBirth(), filing, record }
    const text = encodeSession(written)
    await server.setText(keys.record(fresh.handle), text, record.expiresAt - now())
    const moved = encodeMoved(fresh.handle)
    renewal.replaced = version
    renewal.written = written
    const { swapped, found } = await server.swap(
      keys.record(old.handle),
      version.session.marks[0],
      moved,
      SUCCESSOR_TIME
    )
    // The note is there already if the client has sent it twice.
    if (!swapped && found !== moved) return { found }
    if (!swapped) server.requireNoReplicas()
    return { done: { ...written, text }, text: moved }
  }
}
