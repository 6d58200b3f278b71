import { announce, events } from '../events.js'
import { shortHandle } from '../record/handle.js'
import { isSaved, notesOf } from '../record/notes.js'
import type { SessionRecord } from '../record/record.js'
import type { GuardedStore } from '../store/guarded-store.js'
import type { StoreLogger } from '../store/session-store.js'
import { clearInterval, nextTurn, setImmediate, setInterval } from '../timers.js'

/** How long touches gather, in ms. */
const GATHER = 1000
/**
 * A session that ends so soon by what is stored of it, in ms, is touched at once: it would be over
 * for other processes before the next round, or for this one after a crash and a restart.
 */
const URGENT = 10_000
/** Of one group: it is encoded in one go, which must not hold up the event loop. */
const GROUP = 128
const GROUP_BYTES = 1024 * 1024
/** What those that wait may take together, in bytes, and what one takes beside its data. */
const MOST_BYTES = 16 * 1024 * 1024
const WEIGHT_OF_ONE = 1024

interface Planned {
  readonly record: SessionRecord
  readonly bytes: number
}

export interface TouchesContext {
  readonly sessionName: string
  readonly store: GuardedStore
  readonly log: StoreLogger
  readonly now: () => number
}

/**
 * Stores that sessions were used, and no more than that: no response promises it, so none waits for
 * it. Touches gather, one per session, and go out together about once a second. What a save stores
 * meanwhile is not stored again.
 */
export class Touches {
  readonly #context: TouchesContext
  readonly #planned = new Map<string, Planned>()
  #bytes = 0
  #timer: NodeJS.Timeout | null = null
  /** Resolves to false if the store could do nothing. */
  #flushing: Promise<boolean> | null = null
  #hurries = false
  #closed = false
  /** Kinds of failures that were logged since all went well. */
  readonly #told = new Set<string>()

  constructor(context: TouchesContext) {
    this.#context = context
  }

  /** To be stored soon. There is no room for it while a store hangs: then its next visit tries again. */
  plan(record: SessionRecord): void {
    if (this.#closed || !stands(record)) return
    const other = this.#planned.get(record.handle)?.record
    // Where each request has a record of its own, one that came later has the later deadline.
    if (other !== undefined && stands(other) && other.lastSeenAt >= record.lastSeenAt) return
    this.#put(record)
    const isUrgent = notesOf(record).storedExpiresAt - this.#context.now() < URGENT
    if (isUrgent || this.#bytes > MOST_BYTES / 2) this.#hurry()
  }

  /** A save of the session stores more than this. */
  drop(handle: string): void {
    const planned = this.#planned.get(handle)
    if (planned === undefined) return
    this.#planned.delete(handle)
    this.#bytes -= planned.bytes
  }

  /** Resolves when all that is planned is stored, or has failed. */
  async settled(): Promise<void> {
    // It may have begun before the last ones were planned. Who waits for a store that hangs waits once.
    if ((await this.#flushing) !== false) await this.#flush()
  }

  /** As `settled`, for good. */
  async close(): Promise<void> {
    await this.settled()
    this.#closed = true
    this.#planned.clear()
    this.#stop()
  }

  #put(record: SessionRecord): void {
    this.drop(record.handle)
    const bytes = WEIGHT_OF_ONE + record.size
    if (this.#bytes + bytes > MOST_BYTES) return
    this.#planned.set(record.handle, { record, bytes })
    this.#bytes += bytes
    this.#timer ??= setInterval(() => this.#tick(), GATHER).unref()
  }

  #tick(): void {
    if (this.#planned.size === 0) this.#stop()
    else void this.#flush()
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** At the end of the turn, by when all that is in a hurry is known. */
  #hurry(): void {
    if (this.#hurries) return
    this.#hurries = true
    setImmediate(() => {
      this.#hurries = false
      void this.#flush()
    })
  }

  #flush(): Promise<boolean> {
    this.#flushing ??= this.#writeAll().finally(() => {
      this.#flushing = null
    })
    return this.#flushing
  }

  async #writeAll(): Promise<boolean> {
    if (this.#planned.size === 0) return true
    let failed = false
    // What comes meanwhile is for the next time, or a busy server would never end.
    for (let left = this.#planned.size; left > 0; ) {
      const group = this.#takeGroup(left)
      left -= group.length
      const written = await Promise.all(group.map((record) => this.#write(record)))
      failed ||= written.includes(false)
      // A store that could do nothing is not asked for the rest now.
      if (!written.includes(true)) return false
      await nextTurn()
    }
    if (!failed) this.#told.clear()
    return true
  }

  /** Never an empty one: the first of a group may be of any size. */
  #takeGroup(most: number): SessionRecord[] {
    const group: SessionRecord[] = []
    let bytes = 0
    for (const [handle, planned] of this.#planned) {
      if (group.length >= Math.min(most, GROUP) || bytes > GROUP_BYTES) break
      bytes += planned.bytes
      group.push(planned.record)
      this.drop(handle)
    }
    return group
  }

  /** Resolves to false if the store has failed. */
  async #write(record: SessionRecord): Promise<boolean> {
    if (!stands(record)) return true
    const notes = notesOf(record)
    const { storedSeenAt, storedExpiresAt } = notes
    let isLeftOut = false
    const leaveOut = (): void => {
      isLeftOut = true
      notes.storedSeenAt = storedSeenAt
      notes.storedExpiresAt = storedExpiresAt
    }
    // Where it is not, a request is in the midst of changing it: half of that must not be stored.
    // That request stores all of it, with the times, or it drops it, and then plans this anew.
    const isUnchanged = (): boolean => {
      if (!isSaved(record)) leaveOut()
      return !isLeftOut
    }
    if (!isUnchanged()) return true
    notes.storedSeenAt = record.lastSeenAt
    notes.storedExpiresAt = record.expiresAt
    const { store, sessionName } = this.#context
    try {
      await store.touch(record, isUnchanged)
      if (!record.destroyed && !isLeftOut) announce(events.saved, sessionName, record.handle)
      return true
    } catch (error) {
      // The next visit tries again.
      leaveOut()
      this.#tell(record, error as Error)
      return false
    }
  }

  /** A store in trouble fails for every session; one line of each kind is enough. */
  #tell({ handle }: SessionRecord, error: Error & { code?: string }): void {
    const kind = error.code ?? error.name
    if (this.#told.has(kind)) return
    this.#told.add(kind)
    this.#context.log.error(
      { err: error, session: shortHandle(handle) },
      'that sessions were used could not be stored; their next visits try again'
    )
  }
}

/** Whether a record still is its session: only then is there something to touch. */
function stands(record: SessionRecord): boolean {
  return !record.destroyed && record.failure === null
}
