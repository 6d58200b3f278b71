import { clearTimeout, setTimeout } from '../timers.js'

/** Gives back the turn. Calling it again does nothing. */
export type Leave = () => void

interface Waiting {
  readonly admit: () => void
}

interface Queue {
  readonly names: string[]
  readonly waiting: Waiting[]
}

/** Why a turn was not granted. */
export type Refusal = 'full' | 'late' | 'aborted'

/** How long and behind how many others to wait for a turn. */
export interface Patience {
  readonly maxQueue: number
  /** In ms. */
  readonly maxWait: number
  readonly signal?: AbortSignal
}

const ENDLESS: Patience = { maxQueue: Number.POSITIVE_INFINITY, maxWait: Number.POSITIVE_INFINITY }

/** Of an update of a key, for the one before it: that may wait for itself, or never end. */
export const UPDATE_PATIENCE: Patience = { ...ENDLESS, maxWait: 10_000 }

/** Of whoever renews a session, for an exclusive route that has it. */
export const RENEWAL_PATIENCE: Patience = { ...ENDLESS, maxWait: 10_000 }

/** Lets one at a time through per name. */
export interface Turns {
  /** Says that some routes take turns, so that other processes must know of them. */
  share(): void
  /** Resolves to how to leave again, or to why the turn was refused. */
  enter(name: string, patience?: Patience): Promise<Leave | Refusal>
  /** As `enter`, at once, or `null` if that is not possible. */
  tryEnter(name: string): Leave | null
  /**
   * Lets those who come by a second name, which nobody has used, queue with those of the first.
   * Nobody may come by it before this has resolved.
   */
  follow(first: string, second: string): void | Promise<void>
}

/** Lets one at a time through per name, in the order in which they came, in this process. */
export class Turnstile implements Turns {
  readonly #queues = new Map<string, Queue>()
  /** Of whoever enters without any of their own. */
  readonly patience: Patience

  constructor(patience: Patience = ENDLESS) {
    this.patience = patience
  }

  share(): void {}

  enter(name: string, patience = this.patience): Promise<Leave | Refusal> {
    const queue = this.#queues.get(name)
    if (queue === undefined) return Promise.resolve(this.#begin(name))
    if (queue.waiting.length >= patience.maxQueue) return Promise.resolve('full')
    if (patience.signal?.aborted) return Promise.resolve('aborted')
    return this.#wait(queue, patience)
  }

  tryEnter(name: string): Leave | null {
    return this.#queues.has(name) ? null : this.#begin(name)
  }

  follow(first: string, second: string): void {
    const queue = this.#queues.get(first)
    if (queue === undefined) return
    queue.names.push(second)
    this.#queues.set(second, queue)
  }

  #begin(name: string): Leave {
    const queue: Queue = { names: [name], waiting: [] }
    this.#queues.set(name, queue)
    return this.#leave(queue)
  }

  #wait(queue: Queue, patience: Patience): Promise<Leave | Refusal> {
    const { waiting } = queue
    return new Promise((resolve) => {
      const settle = (outcome: Leave | Refusal): void => {
        clearTimeout(timer)
        patience.signal?.removeEventListener('abort', abort)
        resolve(outcome)
      }
      const giveUp = (refusal: Refusal): void => {
        waiting.splice(waiting.indexOf(place), 1)
        settle(refusal)
      }
      const abort = (): void => giveUp('aborted')
      const place: Waiting = { admit: () => settle(this.#leave(queue)) }
      const timer = Number.isFinite(patience.maxWait)
        ? setTimeout(() => giveUp('late'), patience.maxWait)
        : undefined
      patience.signal?.addEventListener('abort', abort)
      waiting.push(place)
    })
  }

  #leave({ names, waiting }: Queue): Leave {
    let left = false
    return () => {
      if (left) return
      left = true
      const next = waiting.shift()
      if (next !== undefined) next.admit()
      else for (const name of names) this.#queues.delete(name)
    }
  }
}
