import { isOurs, StoreDamagedError, StoreUnavailableError } from '../errors.js'
import { handleOf } from '../record/handle.js'
import { readOptions } from '../record/option.js'
import type { SessionRecord } from '../record/record.js'
import { LONG_OPERATION } from './long-operation.js'
import { type Doubt, PendingWork } from './pending-work.js'
import type { LeftOut, SessionChanges, SessionStore } from './session-store.js'
import { folder, STORE_TIMEOUT } from './store-options.js'

interface Renewal {
  readonly fresh: SessionRecord
  /** Resolves to whether the store has made it. */
  readonly renewing: Promise<boolean>
}

export interface GuardOptions {
  /** How long the store may take, in ms. Default 5,000. */
  readonly timeout?: number
  /** Told of each error that somebody gets because the store could not do what they asked for. */
  readonly onFailure?: (operation: string, error: Error) => void
}

/**
 * Stands in front of any store. It bounds time and memory, so that a store that hangs costs 503s and
 * not a pile of requests; it makes an error of ours of whatever the store throws; and it remembers
 * renewals, so that a request that comes late follows them.
 */
export class GuardedStore implements SessionStore {
  readonly writers: SessionStore['writers']
  readonly expiresByItself: boolean
  readonly #store: SessionStore
  readonly #onFailure: GuardOptions['onFailure']
  readonly #pending: PendingWork
  /** By the record that was renewed. */
  readonly #renewals = new WeakMap<SessionRecord, Renewal>()
  readonly open: SessionStore['open']
  readonly create: SessionStore['create']
  // The guard has one of these only if the store has it.
  readonly compareAndSet?: Required<SessionStore>['compareAndSet']
  readonly takeLease?: Required<SessionStore>['takeLease']
  readonly releaseLease?: Required<SessionStore>['releaseLease']
  readonly discard?: Required<SessionStore>['discard']
  readonly lastCopyAt?: Required<SessionStore>['lastCopyAt']
  readonly noteCopy?: Required<SessionStore>['noteCopy']
  readonly stats?: Required<SessionStore>['stats']
  readonly backup?: Required<SessionStore>['backup']

  constructor(store: SessionStore, { timeout = STORE_TIMEOUT, onFailure }: GuardOptions = {}) {
    this.#store = store
    this.#onFailure = onFailure
    this.#pending = new PendingWork(timeout, (operation, error) => this.#failure(operation, error))
    this.writers = store.writers
    this.expiresByItself = store.expiresByItself ?? false
    this.open = store.open.bind(store)
    this.create = store.create.bind(store)
    const { compareAndSet, takeLease, releaseLease, discard } = store
    const { lastCopyAt, noteCopy, stats, backup } = store
    if (store.writers === 'several' && compareAndSet) {
      this.compareAndSet = (record, ...change) =>
        this.#bound(SAVE, [record], () => compareAndSet.call(store, record, ...change))
    }
    if (takeLease && releaseLease) {
      this.takeLease = (...lease) =>
        this.#bound('take a turn', [], () => takeLease.apply(store, lease))
      this.releaseLease = (...lease) =>
        this.#bound('give a turn', [], () => releaseLease.apply(store, lease))
    }
    if (discard) {
      this.discard = (...which) => this.#bound(DESTROY, [], () => discard.call(store, ...which))
    }
    if (lastCopyAt) {
      this.lastCopyAt = () => this.#ask('read the time of a copy', () => lastCopyAt.call(store))
    }
    if (noteCopy) {
      this.noteCopy = (at) => this.#ask('note a copy', () => noteCopy.call(store, at))
    }
    if (stats) this.stats = () => this.#ask('read its statistics', () => stats.call(store))
    if (backup) {
      this.backup = async (path, options = {}) => {
        folder(path, 'folder')
        readOptions(LONG_OPERATION, options)
        // Not the store but the folder may fail, and the error says so already.
        return backup.call(store, path, options)
      }
    }
  }

  /** The guard in front of a store, which may be one already. */
  static of(store: SessionStore): GuardedStore {
    return store instanceof GuardedStore ? store : new GuardedStore(store)
  }

  load(id: string): SessionRecord | null | Promise<SessionRecord | null> {
    const refusal = this.#pending.isCalm ? null : this.#pending.refuseRead(LOAD, handleOf(id))
    if (refusal !== null) return this.#refuse(LOAD, refusal)
    try {
      return this.#boundLoad(this.#store.load(id))
    } catch (error) {
      return this.#refuse(LOAD, error)
    }
  }

  loadByHandle(handle: string): SessionRecord | null | Promise<SessionRecord | null> {
    const refusal = this.#pending.refuseRead(LOAD, handle)
    if (refusal !== null) return this.#refuse(LOAD, refusal)
    try {
      return this.#boundLoad(this.#store.loadByHandle(handle))
    } catch (error) {
      return this.#refuse(LOAD, error)
    }
  }

  read(handle: string): Promise<SessionRecord | null> {
    const refusal = this.#pending.refuseRead(READ, handle)
    if (refusal !== null) return this.#refuse(READ, refusal)
    return this.#bound(READ, [], () => this.#store.read(handle))
  }

  save(record: SessionRecord, changes: SessionChanges | null): Promise<void> {
    return this.#bound(SAVE, [record], () => this.#store.save(record, changes), 'failed')
  }

  /**
   * Saves a record that has changed in nothing but its times. Whether that succeeds or not, and how
   * long it takes, the record goes on to stand for its session.
   */
  touch(record: SessionRecord, isUnchanged: () => boolean): Promise<void> {
    const store = this.#store
    const touch = () => store.touch?.(record, isUnchanged) ?? store.save(record, null)
    return this.#bound(TOUCH, [record], touch, 'never')
  }

  replace(
    old: SessionRecord,
    fresh: SessionRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean> {
    const renewing = this.#bound('renew a session id', [old, fresh], () =>
      this.#store.replace(old, fresh, keep)
    )
    this.#renewals.set(old, { fresh, renewing })
    return renewing
  }

  /** A logout that races with a renewal wins: the session ends under its new id as well. */
  async destroy(record: SessionRecord): Promise<void> {
    const renewal = this.#renewals.get(record)
    // How the renewal ends decides which of the two is alive.
    if (renewal === undefined || !(await renewal.renewing.catch(() => false))) {
      return this.#bound(DESTROY, [record], () => this.#store.destroy(record))
    }
    const successor = await this.successorOf(record)
    if (successor !== null) await this.destroy(successor)
  }

  /**
   * The record that a session goes on with since this one of it was renewed, here or elsewhere;
   * `null` if the session has ended.
   */
  async successorOf(record: SessionRecord): Promise<SessionRecord | null> {
    const renewal = this.#renewals.get(record)
    if (renewal !== undefined && (await renewal.renewing.catch(() => false))) {
      return this.successorOf(renewal.fresh)
    }
    const { handle } = record
    const alive = await this.loadByHandle(handle)
    if (alive !== null) return alive
    return this.#bound(LOAD, [], async () => this.#store.loadSuccessor?.(handle) ?? null)
  }

  async *handlesOf(principal: string): AsyncGenerator<string[]> {
    const walk = this.#store.handlesOf(principal)[Symbol.asyncIterator]()
    try {
      for (;;) {
        const { done, value } = await this.#bound(LIST, [], () => walk.next())
        if (done) return
        yield value
      }
    } finally {
      // Not awaited: a walk that hangs may never end.
      walk.return?.()?.catch(() => {})
    }
  }

  // No bound on time: these look at every session.

  count(): Promise<number> {
    return this.#ask('count sessions', () => this.#store.count())
  }

  async *records(after?: string, leftOut?: LeftOut): AsyncGenerator<SessionRecord> {
    try {
      yield* this.#store.records(after, leftOut)
    } catch (error) {
      throw this.#failure(LIST, error)
    }
  }

  /** No bound here either: a bulk import makes a database stall, which is no reason to give it up. */
  putRecords(records: readonly SessionRecord[]): Promise<void> {
    return this.#ask('save sessions', () => this.#store.putRecords(records))
  }

  deleteExpired(onProgress?: (deleted: number) => void): Promise<number> {
    return this.#ask('delete expired sessions', () => this.#store.deleteExpired(onProgress))
  }

  /** A write that never ends must not keep the process from ending. */
  close(): Promise<void> {
    return this.#pending.run('close', [], () => this.#store.close())
  }

  #boundLoad(
    loading: SessionRecord | null | Promise<SessionRecord | null>
  ): SessionRecord | null | Promise<SessionRecord | null> {
    if (!(loading instanceof Promise)) return loading
    return this.#pending.run(LOAD, [], () => loading)
  }

  #bound<T>(
    operation: string,
    records: readonly SessionRecord[],
    work: () => Promise<T>,
    doubt?: Doubt
  ): Promise<T> {
    const refusal = this.#pending.refuse(operation, records)
    if (refusal === null) return this.#pending.run(operation, records, work, doubt)
    if (doubt === 'failed') for (const record of records) record.failure ??= refusal
    return this.#refuse(operation, refusal)
  }

  async #ask<T>(operation: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw this.#failure(operation, error)
    }
  }

  #refuse(operation: string, error: unknown): Promise<never> {
    return Promise.reject(this.#failure(operation, error))
  }

  #failure(operation: string, error: unknown): Error {
    const failure = isOurs(error)
      ? (error as Error)
      : new StoreUnavailableError(operation, { cause: error })
    const isFailure =
      failure instanceof StoreUnavailableError || failure instanceof StoreDamagedError
    if (isFailure) this.#onFailure?.(operation, failure)
    return failure
  }
}

const LOAD = 'load a session'
const READ = 'read a session'
const SAVE = 'save a session'
const TOUCH = 'store that a session was used'
const DESTROY = 'destroy a session'
const LIST = 'list sessions'
