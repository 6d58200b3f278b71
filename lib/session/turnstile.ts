import { clearTimeout, setTimeout } from '../timers.js'

/** Gives back the turn. Calling it again does nothing. */
export type Leave = () => void

interface Waiting {
  readonly admit: () => void
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

/** Lets one at a time through per name, in the order in which they came. */
export class Turnstile {
  readonly #queues = new Map<string, Waiting[]>()
  readonly #patience: Patience

  /** @param patience of whoever enters without any of their own; endless by default */
  constructor(patience: Patience = ENDLESS) {
    this.#patience = patience
  }

  /** Resolves to how to leave again, or to why the turn was refused. */
  enter(name: string, patience = this.#patience): Promise<Leave | Refusal> {
    const queue = this.#queues.get(name)
    if (queue === undefined) {
      this.#queues.set(name, [])
      return Promise.resolve(this.#leave(name))
    }
    if (queue.length >= patience.maxQueue) return Promise.resolve('full')
    if (patience.signal?.aborted) return Promise.resolve('aborted')
    return this.#wait(name, queue, patience)
  }

  #wait(name: string, queue: Waiting[], patience: Patience): Promise<Leave | Refusal> {
    return new Promise((resolve) => {
      const settle = (outcome: Leave | Refusal): void => {
        clearTimeout(timer)
        patience.signal?.removeEventListener('abort', abort)
        resolve(outcome)
      }
      const giveUp = (refusal: Refusal): void => {
        queue.splice(queue.indexOf(waiting), 1)
        settle(refusal)
      }
      const abort = (): void => giveUp('aborted')
      const waiting: Waiting = { admit: () => settle(this.#leave(name)) }
      const timer = Number.isFinite(patience.maxWait)
        ? setTimeout(() => giveUp('late'), patience.maxWait)
        : undefined
      patience.signal?.addEventListener('abort', abort)
      queue.push(waiting)
    })
  }

  #leave(name: string): Leave {
    let left = false
    return () => {
      if (left) return
      left = true
      const queue = this.#queues.get(name) as Waiting[]
      const next = queue.shift()
      if (next === undefined) this.#queues.delete(name)
      else next.admit()
    }
  }
}
