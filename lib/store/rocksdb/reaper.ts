import { StoreDamagedError } from '../../errors.js'
import { elapsed, nextTurn, pause } from '../../timers.js'
import { dueRange } from '../format/keys.js'
import type { StoreLogger } from '../session-store.js'
import type { RocksDatabase } from './engine/binding.js'
import { Walk } from './engine/walk.js'
import { type ExpiryEntry, readExpiryEntry } from './format/expiry-entry.js'
import type { LiveRecord } from './live-record.js'

/**
 * How many sessions a batch has, or as many as one entry has. Small enough that it does not hold up
 * the event loop for more than some milliseconds.
 */
const BATCH = 128
const BATCH_WHEN_BUSY = 64

/** While visitors write, the reaper rests as long as its last batch took, and no longer than this. */
const LONGEST_REST_MS = 50

const WALK = { limit: BATCH }

/** What became of the sessions of a batch. */
interface Tally {
  readonly deleted: LiveRecord[]
  readonly refiled: LiveRecord[]
  unreadable: number
  /** How many writes it took. */
  writes: number
}

/** What a handle leads to; `null` for a session that is gone. */
type Found = LiveRecord | null | 'unreadable' | 'uncertain'

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
  /** Unless one of these sessions, which it led to, is given up before that is written. */
  removeEntry(key: Buffer, sessions: readonly LiveRecord[]): Promise<void>
  /** Resolves when the writes under way are through. */
  settled(): Promise<void>
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
    let entries: ExpiryEntry[] = []
    const walk = new Walk(this.#actions, dueRange(from, until), WALK, ({ error }) =>
      this.#actions.noteDamage(error)
    )
    while (!signal.aborted) {
      const start = elapsed()
      const others = this.#actions.writes()
      if (entries.length === 0) {
        entries = (await walk.next(size)).map(({ key, value }) => readExpiryEntry(key, value))
      }
      const tally = await this.#reapBatch(takeBatch(entries, size))
      deleted += countDone(tally.deleted)
      unreadable += tally.unreadable
      for (const onProgress of this.#listeners) onProgress(deleted)
      if (walk.ended && entries.length === 0) {
        this.#reportUnreadable(unreadable)
        return { deleted, complete: true }
      }
      const busy = this.#actions.writes() - others > tally.writes
      size = busy ? BATCH_WHEN_BUSY : BATCH
      await (busy ? this.#rest(elapsed() - start) : nextTurn())
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

  async #reapBatch(entries: readonly ExpiryEntry[]): Promise<Tally> {
    let found = await this.#find(entries)
    if (found.some((records) => records.some(isUncertain))) {
      await this.#actions.settled()
      const again = await this.#find(entries)
      found = again.map((records) => records.map((one) => (isUncertain(one) ? 'uncertain' : one)))
    }
    // From here on in one turn, so one group: no session is without its entry, whatever fails.
    const tally: Tally = { deleted: [], refiled: [], unreadable: 0, writes: 0 }
    const writes = entries.flatMap((entry, at) => {
      return this.#reapEntry(entry, found[at] as readonly Found[], tally)
    })
    await Promise.all(writes)
    this.deleted += countDone(tally.deleted)
    this.refiled += countDone(tally.refiled)
    tally.writes = writes.length
    return tally
  }

  /** The records of each entry. */
  #find(entries: readonly ExpiryEntry[]): Promise<Found[][]> {
    const findAll = (handles: readonly string[]): Promise<Found[]> =>
      Promise.all(handles.map((handle) => this.#findOne(handle)))
    return Promise.all(entries.map(({ handles }) => findAll(handles)))
  }

  #findOne(handle: string): Promise<Found> {
    return this.#actions.find(handle).catch((error: unknown) => {
      if (error instanceof StoreDamagedError) return 'unreadable' as const
      throw error
    })
  }

  /** Sees to each session that an entry stands for whose time has come, and removes the entry. */
  #reapEntry(entry: ExpiryEntry, found: readonly Found[], tally: Tally): Promise<void>[] {
    const { now, log, expire, refile, removeEntry } = this.#actions
    const { key, time, handles, sound } = entry
    const writes: Promise<void>[] = []
    const sessions: LiveRecord[] = []
    let remove = true
    if (!sound) log.error({ sessions: handles.length }, CORRUPT)
    for (const record of found) {
      if (record === 'unreadable') {
        tally.unreadable++
        // After a restore it may be readable again.
        remove = false
        continue
      }
      if (record === 'uncertain') {
        // Somebody is busy with it all the time: the next run has better luck.
        remove = false
        this.noteFiled(time)
        continue
      }
      if (record === null) continue
      // It was moved. Where nothing is certain, a session is rather filed twice.
      if (record.indexedAt !== time && sound) continue
      sessions.push(record)
      if (record.destroyed) continue
      // Not `until`: the clock may have been set back since the run began.
      const lives = record.expiresAt > now()
      tally[lives ? 'refiled' : 'deleted'].push(record)
      if (!lives) record.indexedAt = null
      writes.push(lives ? refile(record) : expire(record))
    }
    if (remove) writes.push(removeEntry(key, sessions))
    return writes
  }
}

const CORRUPT =
  'an entry of the expiry index does not match its checksum: "sled-session verify" tells which sessions it may have lost'

/** Takes entries that have so many sessions together, but one at least. */
function takeBatch(entries: ExpiryEntry[], size: number): ExpiryEntry[] {
  let sessions = 0
  const end = entries.findIndex(({ handles }, at) => {
    sessions += handles.length
    return at > 0 && sessions > size
  })
  return entries.splice(0, end === -1 ? entries.length : end)
}

/** A session that was given up meanwhile was not written. */
function countDone(records: readonly LiveRecord[]): number {
  return records.filter(({ failure }) => failure === null).length
}

/** Whether it is not known yet where on disk a record is filed. */
function isUncertain(record: Found): boolean {
  if (record === null || typeof record === 'string') return false
  return record.writing > 0 || record.failure !== null || record.indexedAt === null
}
