import { SessionRecord } from '../../record/record.js'
import { pause } from '../../timers.js'
import { inOrder } from '../in-order.js'
import { checkGrowth, knownOf, mergeInto } from '../merge.js'
import { isRefusal } from './client.js'
import { encodeMoved, encodeSession, type Filing } from './codec.js'
import { knownBy, type Writing } from './record-writer.js'
import type { RedisRecord } from './redis-record.js'
import { type Attempt, newBirth, type Version } from './session-versions.js'

/** For so long, in ms, it is known what a session that was renewed goes on as. */
const HOUR = 3_600_000
/** How often a renewal is taken back in vain, with a pause in ms between, before it is given up. */
const MOST_ATTEMPTS = 120
const PAUSE = 500

/** A renewal on its way: what may be stored of the fresh session, and of the one before. */
interface Renewal {
  readonly old: RedisRecord
  readonly fresh: RedisRecord
  readonly filings: Map<string, Filing>
  /** The version that may have been replaced by now. */
  replaced: Version | null
}

/**
 * Moves sessions to other ids, and so to other slots: first the fresh session is stored, which
 * nobody can use yet, then the old one gives way to a note of where it goes on, if it still is what
 * was taken over; else it is taken over again.
 */
export class Renewals {
  readonly #writing: Writing
  /** By the former handle: the attempt at taking a renewal back that is under way, or has failed. */
  readonly #unsettled = new Map<string, Promise<void>>()
  #closed = false

  constructor(writing: Writing) {
    this.#writing = writing
  }

  /**
   * Resolves when it is known again whether the session goes on under this handle; rejects if that
   * takes longer. None if nothing is amiss.
   */
  settling(handle: string): Promise<void> | undefined {
    return this.#unsettled.get(handle)
  }

  close(): void {
    this.#closed = true
  }

  async replace(
    old: RedisRecord,
    fresh: RedisRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean> {
    let replaced = false
    const renewal: Renewal = { old, fresh, filings: new Map(), replaced: null }
    await inOrder(old, async () => {
      if (old.stored === null) return
      try {
        replaced = await this.#move(renewal, keep)
      } catch (error) {
        void this.#takeBack(renewal)
        throw error
      }
    })
    old.destroyed = true
    if (!replaced) fresh.destroyed = true
    return replaced
  }

  async #move(renewal: Renewal, keep: boolean | readonly string[]): Promise<boolean> {
    const { old, fresh, filings } = renewal
    const { versions, lists } = this.#writing
    const target = await versions.write(old, (version) => {
      const record = new SessionRecord(fresh)
      mergeInto(record, version.session.record, fresh, knownBy(old, version), keep)
      return this.#attempt(renewal, version, record)
    })
    if (target === null) {
      await this.#forget(renewal)
      return false
    }
    fresh.known = { ...knownOf(fresh), principal: target.record.principal }
    fresh.principal = target.record.principal
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
  ): Promise<
    Attempt<{ text: string; born: string; filing: Filing | null; record: SessionRecord }>
  > {
    const { server, keys, lists, marks, now, maxRecordSize } = this.#writing
    const { old, fresh, filings } = renewal
    const before = Math.max(fresh.size, version.session.record.size)
    checkGrowth(record.size, before, fresh.data, maxRecordSize)
    const own = marks.after([])
    // Each attempt has an entry of its own: who ends what the last one stored takes out that one's.
    const filing = await lists.file(record, null, own[0])
    if (filing !== null) filings.set(filing.mark, filing)
    const born = newBirth()
    const text = encodeSession({ marks: own, born, filing, record })
    await server.setText(keys.record(fresh.handle), text, record.expiresAt - now())
    const moved = encodeMoved(fresh.handle)
    renewal.replaced = version
    const { swapped, found } = await server.swap(
      keys.record(old.handle),
      version.session.marks[0],
      moved,
      HOUR
    )
    // The note is there already if the client has sent it twice.
    if (!swapped && found !== moved) return { found }
    return { done: { text, born, filing, record }, text: moved }
  }

  /**
   * Where the server has not answered nobody knows what it has done, and the visitor has the old id:
   * the old session is put back as soon as it answers, and the fresh one goes.
   */
  async #takeBack(renewal: Renewal): Promise<void> {
    const { handle } = renewal.old
    for (let attempt = 0; attempt < MOST_ATTEMPTS && !this.#closed; attempt++) {
      const restoring = this.#restore(renewal)
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

  async #restore(renewal: Renewal): Promise<void> {
    const { server, keys } = this.#writing
    const { old, replaced } = renewal
    const isBack = replaced !== null && (await this.#putBack(renewal, replaced))
    const wasThere = await this.#forget(renewal)
    // Whoever has ended the fresh session meanwhile meant this one.
    if (isBack && !wasThere) await server.destroy(keys.record(old.handle))
  }

  /**
   * Puts the old session back under a new mark: the client may yet try again to replace the version
   * with the former one. Resolves to whether it had been replaced.
   */
  async #putBack({ old, fresh }: Renewal, { session }: Version): Promise<boolean> {
    const { server, keys, marks, now } = this.#writing
    const key = keys.record(old.handle)
    const [mark] = session.marks
    const text = encodeSession({ ...session, marks: marks.after(session.marks) })
    const timeLeft = session.record.expiresAt - now()
    const { swapped, found } = await server.swap(key, encodeMoved(fresh.handle), text, timeLeft)
    if (swapped || !found?.startsWith(mark)) return swapped
    try {
      await server.swap(key, mark, text, timeLeft)
    } catch (error) {
      // A server that is full has not replaced it either.
      if (!isRefusal(error)) throw error
    }
    return false
  }

  /** Resolves to whether the fresh session was there. */
  async #forget({ fresh, filings }: Renewal): Promise<boolean> {
    const { server, keys, lists } = this.#writing
    const wasThere = await server.delete(keys.record(fresh.handle))
    for (const filing of filings.values()) await lists.remove(fresh.handle, filing)
    return wasThere
  }
}
