import { InvalidHandleError, StoreUnavailableError } from '../../errors.js'
import { compareHandles, handleOf, isHandle } from '../../record/handle.js'
import { type NewRecord, SessionRecord } from '../../record/record.js'
import { now } from '../../timers.js'
import type { SessionChanges, SessionStore, StoreContext } from '../session-store.js'
import { NO_STATS, type StoreStats } from '../stats.js'

/**
 * Sessions in this process's memory, for tests and trials: they end with the process, nothing
 * bounds how many there are, and expired ones are found by looking at all.
 *
 * ```ts
 * await fastify.register(sledSession, { store: new MemoryStore() })
 * ```
 */
export class MemoryStore implements SessionStore {
  readonly writers = 'one'
  readonly #records = new Map<string, SessionRecord>()
  /** Copies, as last saved: a live record already has what requests under way have set. */
  readonly #saved = new Map<string, SessionRecord>()
  #now = now
  #lastCopyAt: number | null = null

  async open(context: StoreContext): Promise<void> {
    this.#now = context.now
  }

  create(start: NewRecord): SessionRecord {
    return new SessionRecord(start)
  }

  load(id: string): SessionRecord | null {
    return this.loadByHandle(handleOf(id))
  }

  loadByHandle(handle: string): SessionRecord | null {
    const record = this.#current(handle)
    return record !== undefined && record.expiresAt > this.#now() ? record : null
  }

  async read(handle: string): Promise<SessionRecord | null> {
    const saved = this.#saved.get(handle)
    return saved === undefined ? null : saved.copy()
  }

  async save(record: SessionRecord, _changes: SessionChanges | null): Promise<void> {
    if (record.failure !== null) throw record.failure
    if (record.destroyed) return
    this.#records.set(record.handle, record)
    this.#saved.set(record.handle, record.copy())
  }

  async replace(old: SessionRecord, fresh: SessionRecord): Promise<boolean> {
    if (old.failure !== null) throw old.failure
    const saving = this.save(fresh, null)
    await this.destroy(old)
    await saving
    return true
  }

  async destroy(record: SessionRecord): Promise<void> {
    record.destroyed = true
    this.#records.delete(record.handle)
    this.#saved.delete(record.handle)
  }

  async *handlesOf(principal: string): AsyncGenerator<string[]> {
    const records = [...this.#records.values()]
    const theirs = records.filter((record) => record.principal === principal)
    for (let at = 0; at < theirs.length; at += BATCH) {
      yield theirs.slice(at, at + BATCH).map(({ handle }) => handle)
    }
  }

  /** The live record; one that no longer stands for what was saved gives way to one that does. */
  #current(handle: string): SessionRecord | undefined {
    const record = this.#records.get(handle)
    if (record === undefined || record.failure === null) return record
    const saved = this.#saved.get(handle)?.copy()
    if (saved === undefined) this.#records.delete(handle)
    else this.#records.set(handle, saved)
    return saved
  }

  async count(): Promise<number> {
    return this.#records.size
  }

  async *records(after?: string): AsyncGenerator<SessionRecord> {
    if (after !== undefined && !isHandle(after)) throw new InvalidHandleError()
    // A saved copy is never changed, so the array is a snapshot.
    const saved = [...this.#saved.values()].sort((a, b) => compareHandles(a.handle, b.handle))
    for (const record of saved) {
      if (after !== undefined && compareHandles(record.handle, after) <= 0) continue
      if (record.expiresAt > this.#now()) yield record.copy()
    }
  }

  async putRecords(records: readonly SessionRecord[]): Promise<void> {
    for (const record of records) {
      const old = this.#records.get(record.handle)
      if (old !== undefined) old.failure = new StoreUnavailableError(REPLACED)
      this.#records.set(record.handle, record.copy())
      this.#saved.set(record.handle, record.copy())
    }
  }

  async lastCopyAt(): Promise<number | null> {
    return this.#lastCopyAt
  }

  async noteCopy(at: number): Promise<void> {
    this.#lastCopyAt = at
  }

  async stats(): Promise<StoreStats> {
    return { ...NO_STATS, store: 'memory', sessions: this.#records.size }
  }

  async deleteExpired(onProgress?: (deleted: number) => void): Promise<number> {
    let deleted = 0
    for (const record of this.#records.values()) {
      if (record.expiresAt > this.#now()) continue
      await this.destroy(record)
      deleted++
    }
    onProgress?.(deleted)
    return deleted
  }

  async close(): Promise<void> {
    this.#records.clear()
    this.#saved.clear()
  }
}

const BATCH = 128
const REPLACED = 'save a session that an import has replaced'
