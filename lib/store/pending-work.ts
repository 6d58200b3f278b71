import { StoreUnavailableError } from '../errors.js'
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

/** A call that the store has not answered yet. */
interface Task {
  readonly operation: string
  /** What the store writes; none if it only reads. */
  readonly records: readonly SessionRecord[]
  /** In bytes; `null` for what only reads. */
  readonly weight: number | null
  readonly since: number
  /** Whether nobody knows what the records are if it takes too long. */
  readonly doubtful: boolean
  late: boolean
  reject: (error: unknown) => void
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
  /** By handle: how many writes of a session have not ended. */
  readonly #writing = new Map<string, number>()
  /** Handles of the sessions with a write that took too long. */
  readonly #uncertain = new Set<string>()
  #writingBytes = 0
  #reading = 0
  readonly #timeout: number
  #ticks = 0
  #timer: NodeJS.Timeout | null = null

  /** @param timeout in ms */
  constructor(timeout: number) {
    this.#timeout = timeout
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
   * @param doubtful whether what they are is in doubt then
   */
  run<T>(
    operation: string,
    records: readonly SessionRecord[],
    work: () => Promise<T>,
    doubtful = true
  ): Promise<T> {
    // Called in here, so that a store that throws makes a promise that rejects.
    return new Promise<T>((resolve, reject) => {
      const working = work()
      const weight = records.length === 0 ? null : this.#weigh(records)
      const task = { operation, records, weight, since: this.#ticks, doubtful, late: false, reject }
      this.#begin(task)
      working.then(
        (value) => {
          this.#end(task)
          // After an earlier write of the record was given up, the store has left this one out.
          const failure = records.find((record) => record.failure !== null)?.failure ?? null
          if (failure === null) resolve(value)
          else reject(failure)
        },
        (error: unknown) => {
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
    this.#timer ??= setInterval(() => this.#tick(), this.#timeout / TICKS).unref()
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
      if (this.#ticks - task.since <= TICKS) return
      if (!task.late) this.#giveUp(task)
    }
  }

  #giveUp(task: Task): void {
    task.late = true
    const error = new StoreUnavailableError(`${task.operation} in ${this.#timeout} ms`)
    for (const record of task.doubtful ? task.records : []) {
      record.failure ??= error
      this.#uncertain.add(record.handle)
    }
    task.reject(error)
  }
}

function tooMany(operation: string): Error {
  return new StoreUnavailableError(`${operation}: too many requests wait for it already`)
}

function uncertain(): Error {
  return new StoreUnavailableError('tell yet how an earlier write of this session ended')
}
