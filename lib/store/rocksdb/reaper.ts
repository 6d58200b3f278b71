import { StoreDamagedError } from '../../errors.js'
import { elapsed, nextTurn, pause } from '../../timers.js'
import { dueRange, parseExpiryKey } from '../format/keys.js'
import type { StoreLogger } from '../session-store.js'
import type { RocksDatabase } from './engine/binding.js'
import { Walk } from './engine/walk.js'
import type { LiveRecord } from './live-record.js'

/** Small enough that one batch does not hold up the event loop for more than some milliseconds. */
const BATCH = 128
const BATCH_WHEN_BUSY = 32

/** While visitors write, the reaper rests this many times as long as its last batch took. */
const REST_FACTOR = 2
const LONGEST_REST_MS = 50

const WALK = { limit: BATCH, values: false }

type Outcome = 'deleted' | 'refiled' | 'removed' | 'unreadable'

/** What the reaper does to the store, and all that it knows of it. */
export interface ReaperActions {
  readonly db: RocksDatabase
  readonly now: () => number
  readonly log: StoreLogger
  readonly noteDamage: (error: unknown) => void
  /** How many writes the store has made so far, the reaper's own included. */
  readonly writes: () => number
  find(handle: string): Promise<LiveRecord | null>
  expire(record: LiveRecord): Promise<void>
  refile(record: LiveRecord): Promise<void>
  removeEntry(key: Buffer): Promise<void>
}

/** Hears after each batch how many sessions the run has deleted so far. Must not throw. */
export type ReapProgress = (deleted: number) => void

/**
 * Deletes the sessions that are past their time. It reads the expiry index from its start up to
 * now and stops there, so it costs what has come due and not what is alive.
 *
 * The index is lazy, as kernel timers are: a touch moves only the record's deadline. An entry
 * whose session lives on is filed again under the real deadline, once per lifetime at most.
 *
 * What lies in a damaged block is stepped over: it is served to nobody, and cannot be judged.
 */
export class Reaper {
  readonly #actions: ReaperActions
  readonly #listeners = new Set<ReapProgress>()
  readonly #stopping = new AbortController()
  #running: Promise<number> | null = null
  /**
   * No entry is filed before this time. Without it each run would first step over the marks that
   * the deletions of the last runs left, which RocksDB keeps until it compacts.
   */
  #head = 0
  /** Sessions deleted and entries filed anew since opening. */
  deleted = 0
  refiled = 0

  constructor(actions: ReaperActions) {
    this.#actions = actions
  }

  /** An entry with this time is on disk: the next run must not begin behind it. */
  noteFiled(time: number): void {
    if (time < this.#head) this.#head = time
  }

  /**
   * Deletes what is past its time at this moment. A call during a run joins it, as two at once
   * would only do the same work twice.
   *
   * @returns how many sessions the run deleted
   */
  run(onProgress?: ReapProgress): Promise<number> {
    if (onProgress !== undefined) this.#listeners.add(onProgress)
    this.#running ??= this.#run().finally(() => {
      this.#running = null
      this.#listeners.clear()
    })
    return this.#running
  }

  /** Resolves when the batch under way is done, the last one of its run. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running?.catch(() => {})
  }

  async #run(): Promise<number> {
    const until = this.#actions.now()
    const from = this.#head
    if (from > until) return 0
    // What is filed from here on lowers it again: the run may have passed that place by then.
    this.#head = Math.floor(until) + 1
    try {
      const { deleted, complete } = await this.#reap(from, until)
      if (!complete) this.noteFiled(from)
      return deleted
    } catch (error) {
      this.noteFiled(from)
      throw error
    }
  }

  async #reap(from: number, until: number): Promise<{ deleted: number; complete: boolean }> {
    const { signal } = this.#stopping
    let deleted = 0
    let unreadable = 0
    let size = BATCH
    const walk = new Walk(this.#actions, dueRange(from, until), WALK, ({ error }) =>
      this.#actions.noteDamage(error)
    )
    while (!signal.aborted) {
      const start = elapsed()
      const others = this.#actions.writes()
      const keys = await walk.next(size)
      const outcomes = await Promise.all(keys.map(({ key }) => this.#reapEntry(key)))
      deleted += this.#count(outcomes)
      unreadable += outcomes.filter((outcome) => outcome === 'unreadable').length
      for (const onProgress of this.#listeners) onProgress(deleted)
      if (walk.ended) {
        this.#reportUnreadable(unreadable)
        return { deleted, complete: true }
      }
      const busy = this.#actions.writes() - others > keys.length
      size = busy ? BATCH_WHEN_BUSY : BATCH
      await (busy ? this.#rest(REST_FACTOR * (elapsed() - start)) : nextTurn())
    }
    return { deleted, complete: false }
  }

  /** Visitors come first; but the reaper gets on, or a store that is always busy would only grow. */
  async #rest(milliseconds: number): Promise<void> {
    const { signal } = this.#stopping
    const rest = Math.min(milliseconds, LONGEST_REST_MS)
    await pause(rest, undefined, { signal }).catch(() => {})
  }

  #reportUnreadable(unreadable: number): void {
    if (unreadable === 0) return
    this.#actions.log.error(
      { unreadable },
      'sessions that may be past their time lie in damaged files, and were not deleted'
    )
  }

  /** How many of a batch were deleted. */
  #count(outcomes: Outcome[]): number {
    const deleted = outcomes.filter((outcome) => outcome === 'deleted').length
    this.deleted += deleted
    this.refiled += outcomes.filter((outcome) => outcome === 'refiled').length
    return deleted
  }

  async #reapEntry(key: Buffer): Promise<Outcome> {
    const { expiresAt, handle } = parseExpiryKey(key)
    const record = await this.#actions.find(handle).catch((error: unknown) => {
      if (error instanceof StoreDamagedError) return 'unreadable' as const
      throw error
    })
    if (record === 'unreadable') return record
    if (record === null || record.indexedAt !== expiresAt) {
      // A write that moved the session's entry was under way while the index was read.
      await this.#actions.removeEntry(key)
      return 'removed'
    }
    if (record.destroyed) return 'removed'
    // Not `until`: the clock may have been set back since the run began.
    if (record.expiresAt > this.#actions.now()) {
      await this.#actions.refile(record)
      return 'refiled'
    }
    await this.#actions.expire(record)
    return 'deleted'
  }
}
