import { StoreUnavailableError } from '../errors.js'
import { notesOf } from '../record/notes.js'
import type { SessionRecord } from '../record/record.js'
import { clearInterval, setInterval } from '../timers.js'

/** The clock ticks so often in the time that a task may take. */
const TICKS = 10
/** What a waiting write counts beside its record, in bytes: 16,384 of those without data may wait. */
const WEIGHT_OF_ONE = 4096
/**
 * The most that the records of waiting writes may take, in bytes. A bound on their number alone does
 * not do: 16,384, which a busy process takes in within the 5 s of a hanging store, take 190 MiB with
 * their requests at 512 bytes of data each, but 442 MiB at 16 KiB and some 16 GiB at 1 MiB; and the
 * 64 of 1 MiB that this bound lets wait would be no more than a pause of the disk at 512 bytes.
 */
const MOST_WRITING = 64 * 1024 * 1024
/** The most reads that may wait. They hold no record until the store answers. */
const MOST_READING = 16_384

/**
 * When the records of a call no longer stand for what is stored: when it fails, as they have what the
 * store does not; when it takes too long, as nobody knows how it ends; or never.
 */
export type Doubt = 'failed' | 'late' | 'never'

/** A call that the store has not answered yet. */
interface Task {
  readonly operation: string
  /** What the store writes; none if it only reads. */
  readonly records: readonly SessionRecord[]
  /** In bytes; 0 for what only reads. */
  readonly weight: number
  readonly since: number
  readonly doubt: Doubt
  late: boolean
  fail: (error: unknown) => void
}

/**
 * The calls that a store has not answered yet, with a bound on their time and memory.
 *
 * Nobody knows how a write ends that took too long. So its record stands for nothing any more, and
 * the session answers 503 until all of its writes have ended: only then does reading it anew show
 * what is true, and no later change can get in between.
 */
export class PendingWork {
  /** In the order in which they came, so the oldest is first. */
  readonly #tasks = new Set<Task>()
  /** By handle of a session with a write that took too long: how many of its writes have not ended. */
  readonly #uncertain = new Map<string, number>()
  #writingBytes = 0
  #reading = 0
  readonly #timeout: number
  readonly #explain: (operation: string, error: unknown) => Error
  #ticks = 0
  #timer: NodeJS.Timeout | null = null

  /**
   * @param timeout in ms
   * @param explain makes what a caller gets of what the store has thrown; called once for each failure
   */
  constructor(timeout: number, explain: (operation: string, error: unknown) => Error) {
    this.#timeout = timeout
    this.#explain = explain
  }

  /** Whether any session may be read: then a load by id needs no hash here. */
  get isCalm(): boolean {
    return this.#uncertain.size === 0 && this.#reading < MOST_READING
  }

  /** Why a session is not to be read now, or `null` if it may be. */
  refuseRead(operation: string, handle: string): Error | null {
    if (this.#uncertain.has(handle)) return uncertain()
    return this.#reading >= MOST_READING ? tooMany(operation) : null
  }

  /** Why these records are not to be written now, or, if there are none, nothing read. */
  refuse(operation: string, records: readonly SessionRecord[]): Error | null {
    for (const { handle, failure } of records) {
      if (failure !== null) return failure
      if (this.#uncertain.has(handle)) return uncertain()
    }
    const full =
      records.length === 0 ? this.#reading >= MOST_READING : this.#writingBytes >= MOST_WRITING
    return full ? tooMany(operation) : null
  }

  /**
   * Does something, and rejects if it takes too long.
   *
   * @param records what it writes; none if it only reads
   */
  run<T>(
    operation: string,
    records: readonly SessionRecord[],
    work: () => Promise<T>,
    doubt: Doubt = 'late'
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const fail = (error: unknown): void => {
        const failure = this.#explain(operation, error)
        if (doubt === 'failed') for (const record of records) record.failure ??= failure
        reject(failure)
      }
      let working: Promise<T>
      try {
        working = work()
      } catch (error) {
        fail(error)
        return
      }
      const weight = weigh(records)
      const task = { operation, records, weight, since: this.#ticks, doubt, late: false, fail }
      this.#begin(task)
      working.then(
        (value) => {
          this.#end(task)
          // After an earlier write of the record was given up, the store has left this one out.
          const failure = failureOf(records)
          if (failure === null) resolve(value)
          else if (!task.late) fail(failure)
        },
        (error: unknown) => {
          this.#end(task)
          if (!task.late) fail(error)
        }
      )
    })
  }

  #begin(task: Task): void {
    this.#tasks.add(task)
    this.#writingBytes += task.weight
    if (task.records.length === 0) this.#reading++
    else for (const record of task.records) notesOf(record).writes++
    this.#timer ??= setInterval(() => this.#tick(), this.#timeout / TICKS).unref()
  }

  #end(task: Task): void {
    this.#tasks.delete(task)
    this.#writingBytes -= task.weight
    if (task.records.length === 0) this.#reading--
    else for (const record of task.records) this.#ended(record)
  }

  #ended(record: SessionRecord): void {
    notesOf(record).writes--
    const left = this.#uncertain.get(record.handle)
    if (left === undefined) return
    if (left > 1) this.#uncertain.set(record.handle, left - 1)
    else this.#uncertain.delete(record.handle)
  }

  #tick(): void {
    this.#ticks++
    if (this.#tasks.size === 0) {
      if (this.#timer !== null) clearInterval(this.#timer)
      this.#timer = null
      return
    }
    const late: Task[] = []
    for (const task of this.#tasks) {
      if (this.#ticks - task.since <= TICKS) break
      if (!task.late) late.push(task)
    }
    if (late.length > 0) this.#giveUp(late)
  }

  #giveUp(late: readonly Task[]): void {
    const writes = new Map<string, number>()
    for (const { doubt, records } of late) {
      if (doubt !== 'never') for (const { handle } of records) writes.set(handle, 0)
    }
    for (const { records } of this.#tasks) {
      for (const { handle } of records) {
        const counted = writes.get(handle)
        if (counted !== undefined) writes.set(handle, counted + 1)
      }
    }
    for (const [handle, count] of writes) this.#uncertain.set(handle, count)
    for (const task of late) {
      task.late = true
      const error = new StoreUnavailableError(`${task.operation} in ${this.#timeout} ms`)
      if (task.doubt !== 'never') for (const record of task.records) record.failure ??= error
      task.fail(error)
    }
  }
}

/** Parallel saves of one session share its record, and the store shares its bytes. */
function weigh(records: readonly SessionRecord[]): number {
  if (records.length === 0) return 0
  let weight = WEIGHT_OF_ONE
  for (const record of records) if (notesOf(record).writes === 0) weight += record.size
  return weight
}

function failureOf(records: readonly SessionRecord[]): Error | null {
  for (const { failure } of records) if (failure !== null) return failure
  return null
}

function tooMany(operation: string): Error {
  return new StoreUnavailableError(`${operation}: too many requests wait for it already`)
}

function uncertain(): Error {
  return new StoreUnavailableError('tell yet how an earlier write of this session ended')
}
