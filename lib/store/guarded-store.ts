import { StoreUnavailableError } from '../errors.js'
import { handleOf } from '../record/handle.js'
import type { SessionRecord } from '../record/record.js'
import { clearInterval, setInterval } from '../timers.js'
import type { SessionChanges, SessionStore } from './session-store.js'

const TICK = 1000
const LONGEST_WAIT_TICKS = 10
/** What a waiting write takes beside its record, roughly. */
const WEIGHT_OF_ONE = 1024
/**
 * Of writes, in bytes: a bound on their number alone would refuse small sessions in an ordinary
 * stall of the disk, or let large ones take gigabytes.
 */
const MOST_WRITING = 64 * 1024 * 1024
/** Of reads, whose size is not known yet; they hold nothing of the store until they are answered. */
const MOST_READING = 16_384

/** Something that was asked of the store and that it has not answered yet. */
interface Task {
  readonly operation: string
  /** What the store writes; none if it only reads. */
  readonly records: readonly SessionRecord[]
  /** In bytes; `null` for what only reads. */
  readonly weight: number | null
  readonly since: number
  late: boolean
  reject: (error: Error) => void
}

interface Renewal {
  readonly fresh: SessionRecord
  /** Resolves to whether it was made. */
  readonly renewing: Promise<boolean>
}

/**
 * Any store with a bound on time and memory, so that one that hangs is a 503 and no pile of
 * requests. It stands in front of the store, because a store that hangs cannot be asked for it.
 *
 * How a write ends that took too long is unknown. So its record stands for nothing any more, and
 * until all writes of that session have ended, the session is a 503: only then does reading it
 * anew show what is true, and no later change can get in between.
 */
export class GuardedStore implements SessionStore {
  readonly #store: SessionStore
  /** In the order in which they came, so the oldest is first. */
  readonly #tasks = new Set<Task>()
  /** By handle: how many writes of a session have not ended. */
  readonly #writing = new Map<string, number>()
  /** Handles of the sessions with a write that took too long. */
  readonly #uncertain = new Set<string>()
  /** By the record that was renewed, for as long as anybody has it. */
  readonly #renewals = new WeakMap<SessionRecord, Renewal>()
  #writingBytes = 0
  #reading = 0
  #ticks = 0
  #timer: NodeJS.Timeout | null = null
  // The store's own: they ask nothing of the disk, or walk over everything and take their time.
  readonly open: SessionStore['open']
  readonly create: SessionStore['create']
  readonly release: SessionStore['release']
  readonly count: SessionStore['count']
  readonly records: SessionStore['records']
  readonly putRecords: SessionStore['putRecords']
  readonly deleteExpired: SessionStore['deleteExpired']
  // Here if the store has them: what they are missing from is told by that.
  readonly compareAndSet?: Required<SessionStore>['compareAndSet']
  readonly discard?: Required<SessionStore>['discard']
  readonly stats?: Required<SessionStore>['stats']
  readonly backup?: Required<SessionStore>['backup']

  constructor(store: SessionStore) {
    this.#store = store
    this.open = store.open.bind(store)
    this.create = store.create.bind(store)
    this.release = store.release.bind(store)
    this.count = store.count.bind(store)
    this.records = store.records.bind(store)
    this.putRecords = store.putRecords.bind(store)
    this.deleteExpired = store.deleteExpired.bind(store)
    if (store.stats !== undefined) this.stats = store.stats.bind(store)
    if (store.backup !== undefined) this.backup = store.backup.bind(store)
    const discard = store.discard?.bind(store)
    if (discard !== undefined) {
      this.discard = (...which) => this.#bound('destroy a session', [], () => discard(...which))
    }
    const compareAndSet = store.compareAndSet?.bind(store)
    if (compareAndSet === undefined) return
    this.compareAndSet = (record, ...change) =>
      this.#bound('save a session', [record], () => compareAndSet(record, ...change))
  }

  load(id: string): SessionRecord | null | Promise<SessionRecord | null> {
    if (this.#uncertain.size > 0 && this.#uncertain.has(handleOf(id))) return refuse(uncertain())
    if (this.#reading >= MOST_READING) return refuse(tooMany(LOAD))
    try {
      const loading = this.#store.load(id)
      return loading instanceof Promise ? this.#boundLoad(loading) : loading
    } catch (error) {
      return Promise.reject(error)
    }
  }

  loadByHandle(handle: string): SessionRecord | null | Promise<SessionRecord | null> {
    if (this.#uncertain.has(handle)) return refuse(uncertain())
    if (this.#reading >= MOST_READING) return refuse(tooMany(LOAD))
    try {
      const loading = this.#store.loadByHandle(handle)
      return loading instanceof Promise ? this.#boundLoad(loading) : loading
    } catch (error) {
      return Promise.reject(error)
    }
  }

  read(handle: string): Promise<SessionRecord | null> {
    if (this.#uncertain.has(handle)) return refuse(uncertain())
    return this.#bound('read a session', [], () => this.#store.read(handle))
  }

  save(record: SessionRecord, changes: SessionChanges | null): Promise<void> {
    return this.#bound('save a session', [record], () => this.#store.save(record, changes))
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
      return this.#bound('destroy a session', [record], () => this.#store.destroy(record))
    }
    const successor = await this.successorOf(record)
    if (successor === null) return
    try {
      await this.destroy(successor)
    } finally {
      this.release(successor)
    }
  }

  /**
   * The record that a session goes on with since this one of it was renewed, here or elsewhere,
   * held as by `load`; `null` if the session has ended.
   */
  async successorOf(record: SessionRecord): Promise<SessionRecord | null> {
    const renewal = this.#renewals.get(record)
    if (await renewal?.renewing.catch(() => false))
      return this.successorOf((renewal as Renewal).fresh)
    const { handle } = record
    const alive = await this.loadByHandle(handle)
    if (alive !== null) return alive
    return this.#bound(LOAD, [], async () => this.#store.loadSuccessor?.(handle) ?? null)
  }

  async *handlesOf(principal: string): AsyncGenerator<string[]> {
    const walk = this.#store.handlesOf(principal)[Symbol.asyncIterator]()
    try {
      for (;;) {
        const { done, value } = await this.#bound('list sessions', [], () => walk.next())
        if (done) return
        yield value
      }
    } finally {
      // Not awaited: a walk that hangs ends after what it hangs in, if ever.
      walk.return?.()?.catch(() => {})
    }
  }

  /** A write that never ends must not keep the process from ending. */
  close(): Promise<void> {
    return this.#watch('close', [], () => this.#store.close())
  }

  #boundLoad(loading: Promise<SessionRecord | null>): Promise<SessionRecord | null> {
    return this.#watch(
      LOAD,
      [],
      () => loading,
      (record) => {
        // Nobody waits for it any more, and the store counts who holds it.
        if (record !== null) this.#store.release(record)
      }
    )
  }

  #bound<T>(
    operation: string,
    records: readonly SessionRecord[],
    work: () => Promise<T>
  ): Promise<T> {
    for (const { handle, failure } of records) {
      if (failure !== null) return Promise.reject(failure)
      if (this.#uncertain.has(handle)) return Promise.reject(uncertain())
    }
    const full =
      records.length === 0 ? this.#reading >= MOST_READING : this.#writingBytes >= MOST_WRITING
    return full ? refuse(tooMany(operation)) : this.#watch(operation, records, work)
  }

  #watch<T>(
    operation: string,
    records: readonly SessionRecord[],
    work: () => Promise<T>,
    tooLate?: (value: T) => void
  ): Promise<T> {
    // In here, so that a store that throws instead of rejecting rejects.
    return new Promise<T>((resolve, reject) => {
      const working = work()
      const weight = records.length === 0 ? null : this.#weigh(records)
      const task = { operation, records, weight, since: this.#ticks, late: false, reject }
      this.#begin(task)
      working.then(
        (value) => {
          this.#end(task)
          if (task.late) tooLate?.(value)
          // The store leaves out what it has not written before another write of it was given up.
          const failure = records.find((record) => record.failure !== null)?.failure ?? null
          if (failure === null) resolve(value)
          else reject(failure)
        },
        (error: Error) => {
          this.#end(task)
          reject(error)
        }
      )
    })
  }

  /** Parallel saves of one session share its record, and the store shares its bytes. */
  #weigh(records: readonly SessionRecord[]): number {
    let weight = WEIGHT_OF_ONE
    for (const { handle, size } of records) if (!this.#writing.has(handle)) weight += size
    return weight
  }

  #begin(task: Task): void {
    this.#tasks.add(task)
    if (task.weight === null) this.#reading++
    else this.#writingBytes += task.weight
    for (const { handle } of task.records) {
      this.#writing.set(handle, (this.#writing.get(handle) ?? 0) + 1)
    }
    this.#timer ??= setInterval(() => this.#tick(), TICK).unref()
  }

  #end(task: Task): void {
    this.#tasks.delete(task)
    if (task.weight === null) this.#reading--
    else this.#writingBytes -= task.weight
    for (const { handle } of task.records) {
      const left = (this.#writing.get(handle) ?? 1) - 1
      if (left > 0) this.#writing.set(handle, left)
      else {
        this.#writing.delete(handle)
        this.#uncertain.delete(handle)
      }
    }
  }

  #tick(): void {
    this.#ticks++
    if (this.#tasks.size === 0) {
      if (this.#timer !== null) clearInterval(this.#timer)
      this.#timer = null
      return
    }
    for (const task of this.#tasks) {
      if (this.#ticks - task.since < LONGEST_WAIT_TICKS) return
      if (!task.late) this.#giveUp(task)
    }
  }

  #giveUp(task: Task): void {
    task.late = true
    const error = new StoreUnavailableError(`${task.operation} in ${LONGEST_WAIT_TICKS} seconds`)
    for (const record of task.records) {
      record.failure ??= error
      this.#uncertain.add(record.handle)
    }
    task.reject(error)
  }
}

const LOAD = 'load a session'

function refuse(error: Error): Promise<never> {
  return Promise.reject(error)
}

function tooMany(operation: string): Error {
  return new StoreUnavailableError(`${operation}: too many requests wait for it already`)
}

function uncertain(): Error {
  return new StoreUnavailableError('tell yet how an earlier write of this session ended')
}
