import { StoreUnavailableError } from '../errors.js'
import { handleOf } from '../record/handle.js'
import type { SessionRecord } from '../record/record.js'
import { clearInterval, setInterval } from '../timers.js'
import type { SessionChanges, SessionStore } from './session-store.js'

const TICK = 1000
const LONGEST_WAIT_TICKS = 10
/** What a waiting request takes beside its record, roughly. */
const WEIGHT_OF_ONE = 1024
const MOST_WAITING = 64 * 1024 * 1024

/** Something that was asked of the store and that it has not answered yet. */
interface Task {
  readonly operation: string
  /** What the store writes; none if it only reads. */
  readonly records: readonly SessionRecord[]
  readonly weight: number
  readonly since: number
  late: boolean
  reject: (error: Error) => void
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
  #weight = 0
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
    const compareAndSet = store.compareAndSet?.bind(store)
    if (compareAndSet === undefined) return
    this.compareAndSet = (record, ...change) =>
      this.#bound('save a session', [record], () => compareAndSet(record, ...change))
  }

  load(id: string): SessionRecord | null | Promise<SessionRecord | null> {
    if (this.#uncertain.size > 0) this.#refuseUncertain(handleOf(id))
    return this.#boundLoad(this.#store.load(id))
  }

  loadByHandle(handle: string): SessionRecord | null | Promise<SessionRecord | null> {
    if (this.#uncertain.size > 0) this.#refuseUncertain(handle)
    return this.#boundLoad(this.#store.loadByHandle(handle))
  }

  read(handle: string): Promise<SessionRecord | null> {
    if (this.#uncertain.size > 0) this.#refuseUncertain(handle)
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
    const replace = (): Promise<boolean> => this.#store.replace(old, fresh, keep)
    return this.#bound('renew a session id', [old, fresh], replace)
  }

  destroy(record: SessionRecord): Promise<void> {
    return this.#bound('destroy a session', [record], () => this.#store.destroy(record))
  }

  handlesOf(principal: string): Promise<string[]> {
    return this.#bound('list sessions', [], () => this.#store.handlesOf(principal))
  }

  /** A write that never ends must not keep the process from ending. */
  close(): Promise<void> {
    return this.#watch('close', [], this.#store.close())
  }

  #boundLoad(
    loading: SessionRecord | null | Promise<SessionRecord | null>
  ): SessionRecord | null | Promise<SessionRecord | null> {
    if (!(loading instanceof Promise)) return loading
    return this.#bound(
      'load a session',
      [],
      () => loading,
      (record) => {
        // Nobody waits for it any more, and the store counts who holds it.
        if (record !== null) this.#store.release(record)
      }
    )
  }

  #refuseUncertain(handle: string): void {
    if (this.#uncertain.has(handle)) throw uncertain()
  }

  #bound<T>(
    operation: string,
    records: readonly SessionRecord[],
    work: () => Promise<T>,
    tooLate?: (value: T) => void
  ): Promise<T> {
    for (const { handle, failure } of records) {
      if (failure !== null) return Promise.reject(failure)
      if (this.#uncertain.has(handle)) return Promise.reject(uncertain())
    }
    if (this.#weight >= MOST_WAITING) {
      const problem = `${operation}: too many requests wait for it already`
      return Promise.reject(new StoreUnavailableError(problem))
    }
    return this.#watch(operation, records, work(), tooLate)
  }

  #watch<T>(
    operation: string,
    records: readonly SessionRecord[],
    work: Promise<T>,
    tooLate?: (value: T) => void
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const weight = this.#weigh(records)
      const task = { operation, records, weight, since: this.#ticks, late: false, reject }
      this.#begin(task)
      work.then(
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
    this.#weight += task.weight
    for (const { handle } of task.records) {
      this.#writing.set(handle, (this.#writing.get(handle) ?? 0) + 1)
    }
    this.#timer ??= setInterval(() => this.#tick(), TICK).unref()
  }

  #end(task: Task): void {
    this.#tasks.delete(task)
    this.#weight -= task.weight
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

function uncertain(): Error {
  return new StoreUnavailableError('tell yet how an earlier write of this session ended')
}
