/** The writes of one session that this process has not done yet. */
export interface WriteQueue {
  /** What the write before has left in the store; `null` if it does not know. */
  stored: string | null
  length: number
  tail: Promise<unknown>
}

/** Lets the writes of a session go one by one: each builds on what the one before has stored. */
export class WriteQueues {
  readonly #queues = new Map<string, WriteQueue>()

  run<T>(handle: string, write: (queue: WriteQueue) => Promise<T>): Promise<T> {
    let queue = this.#queues.get(handle)
    if (queue === undefined) {
      queue = { stored: null, length: 0, tail: Promise.resolve() }
      this.#queues.set(handle, queue)
    }
    const own = queue
    own.length++
    const writing = own.tail.then(() => write(own))
    own.tail = writing
      .catch(() => {
        own.stored = null
      })
      .then(() => {
        if (--own.length === 0) this.#queues.delete(handle)
      })
    return writing
  }
}
