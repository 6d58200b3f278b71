import { elapsed, nextTurn } from '../../timers.js'
import { dueRange, parseExpiryKey, successorKey } from '../format/keys.js'
import type { Database } from './engine/database.js'
import type { GroupCommit } from './group-commit.js'
import { type Leases, newOwner } from './leases.js'
import { readSuccessor } from './successor.js'

/** Small enough that one batch does not hold up the event loop, or other processes, for long. */
const BATCH = 128
const LEASE = 'reaper'
const LEASE_MS = 10_000

/** Hears after each batch how many sessions the run has deleted so far. Must not throw. */
export type ReapProgress = (deleted: number) => void

/**
 * Deletes the sessions that are past their time. It reads the expiry index from its start up to
 * now, so it costs what has come due and not what is alive. One process does it at a time.
 *
 * The index is lazy: a touch moves only the record's deadline. An entry whose session lives on is
 * filed again under the real deadline.
 */
export class Reaper {
  readonly #database: Database
  readonly #commit: GroupCommit
  readonly #now: () => number
  readonly #leases: Leases
  readonly #owner = newOwner()
  readonly #listeners = new Set<ReapProgress>()
  #running: Promise<number> | null = null
  #stopping = false
  /** Sessions deleted and entries filed anew since opening. */
  deleted = 0
  refiled = 0

  constructor(database: Database, commit: GroupCommit, leases: Leases, now: () => number) {
    this.#database = database
    this.#commit = commit
    this.#leases = leases
    this.#now = now
  }

  /**
   * Resolves to how many sessions this run has deleted: none if another process is at it. A call
   * during a run joins it.
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
    this.#stopping = true
    await this.#running?.catch(() => {})
  }

  async #run(): Promise<number> {
    await this.#leases.removeEnded()
    if (this.#due().length === 0) return 0
    if (!(await this.#leases.take(LEASE, this.#owner, LEASE_MS))) return 0
    try {
      return await this.#reap()
    } finally {
      await this.#leases.release(LEASE, this.#owner)
    }
  }

  async #reap(): Promise<number> {
    let deleted = 0
    let renewed = elapsed()
    while (!this.#stopping) {
      const keys = this.#due()
      const outcomes = await Promise.all(keys.map((key) => this.#reapEntry(key)))
      const batch = outcomes.filter((outcome) => outcome === 'deleted').length
      deleted += batch
      this.deleted += batch
      this.refiled += outcomes.filter((outcome) => outcome === 'refiled').length
      for (const onProgress of this.#listeners) onProgress(deleted)
      if (keys.length < BATCH) break
      if (elapsed() - renewed > LEASE_MS / 4) {
        if (!(await this.#leases.take(LEASE, this.#owner, LEASE_MS))) break
        renewed = elapsed()
      }
      await nextTurn()
    }
    return deleted
  }

  #due(): Buffer[] {
    const { gte, lt } = dueRange(0, this.#now())
    this.#database.refresh()
    return this.#database.keys(this.#database.indexes, { start: gte, end: lt, limit: BATCH })
  }

  async #reapEntry(key: Buffer): Promise<'deleted' | 'refiled' | 'removed'> {
    const { expiresAt, handle } = parseExpiryKey(key)
    let outcome: 'deleted' | 'refiled' | 'removed' = 'removed'
    await this.#commit.add([handle], (session) => {
      const stored = session(handle)
      const { record } = stored
      if (record === null || record.indexedAt !== expiresAt) {
        // Of a session that was renewed, or a write that moved it was under way.
        outcome = 'removed'
        stored.removeEntry(key)
        if (readSuccessor(this.#database, handle, this.#now()) === null) {
          stored.removeEntry(successorKey(handle))
        }
      } else if (record.expiresAt > this.#now()) {
        outcome = 'refiled'
        stored.touch(true)
      } else {
        outcome = 'deleted'
        stored.remove()
      }
      return undefined
    })
    return outcome
  }
}
