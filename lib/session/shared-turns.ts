import { randomUUID } from 'node:crypto'
import type { StoreLogger } from '../store/session-store.js'
import { clearInterval, elapsed, pause, setInterval } from '../timers.js'
import type { Leave, Patience, Refusal, Turns, Turnstile } from './turnstile.js'

/** A process that is killed holds its sessions' turns for so long, in ms. */
const LEASE_MS = 5000
const RENEW_MS = 1000
/** How often to look whether another process has left. */
const LOOK_MS = 20

/** Where turns are told to other processes: the part of a store for several writers that does so. */
export interface Leases {
  takeLease(name: string, owner: string, milliseconds: number): Promise<boolean>
  releaseLease(name: string, owner: string): Promise<void>
}

/** A turn that this process has. */
interface Held {
  readonly owner: string
  readonly names: string[]
}

/**
 * As {@link Turnstile}, among all processes of a store. Those of one process queue in it, and the
 * first of them asks the store; between processes there is no order.
 */
export class SharedTurns implements Turns {
  readonly #local: Turnstile
  readonly #leases: Leases
  readonly #log: StoreLogger
  readonly #held = new Map<string, Held>()
  #shared = false

  constructor(local: Turnstile, leases: Leases, log: StoreLogger) {
    this.#local = local
    this.#leases = leases
    this.#log = log
  }

  /** Without a route that takes turns, nobody needs to know of them. */
  share(): void {
    this.#shared = true
  }

  async enter(name: string, patience?: Patience): Promise<Leave | Refusal> {
    const start = elapsed()
    const leave = await this.#local.enter(name, patience)
    if (typeof leave === 'string' || !this.#shared) return leave
    const owner = randomUUID()
    try {
      const limits = patience ?? this.#local.patience
      const refusal = await this.#take(name, owner, limits, start)
      if (refusal === null) return this.#hold(name, owner, leave)
      leave()
      return refusal
    } catch (error) {
      leave()
      throw error
    }
  }

  /** The store is not asked at once: whoever gets `null` enters. */
  tryEnter(name: string): Leave | null {
    return this.#shared ? null : this.#local.tryEnter(name)
  }

  async follow(first: string, second: string): Promise<void> {
    this.#local.follow(first, second)
    const held = this.#held.get(first)
    if (held === undefined) return
    held.names.push(second)
    this.#held.set(second, held)
    await this.#leases.takeLease(leaseOf(second), held.owner, LEASE_MS)
  }

  async #take(
    name: string,
    owner: string,
    { maxWait, signal }: Patience,
    start: number
  ): Promise<Refusal | null> {
    while (!(await this.#leases.takeLease(leaseOf(name), owner, LEASE_MS))) {
      if (signal?.aborted) return 'aborted'
      if (elapsed() - start >= maxWait) return 'late'
      await pause(LOOK_MS)
    }
    return null
  }

  #hold(name: string, owner: string, leave: Leave): Leave {
    const held: Held = { owner, names: [name] }
    this.#held.set(name, held)
    const timer = setInterval(() => this.#renew(held), RENEW_MS).unref()
    let left = false
    return () => {
      if (left) return
      left = true
      clearInterval(timer)
      for (const each of held.names) this.#held.delete(each)
      // The next of this process asks the store when it has let go.
      this.#release(held).finally(leave)
    }
  }

  async #release({ owner, names }: Held): Promise<void> {
    const releases = names.map((name) => this.#leases.releaseLease(leaseOf(name), owner))
    // It ends by itself soon.
    await Promise.allSettled(releases)
  }

  async #renew({ owner, names }: Held): Promise<void> {
    try {
      for (const name of names) {
        if (await this.#leases.takeLease(leaseOf(name), owner, LEASE_MS)) continue
        this.#log.error(
          {},
          `a request in an exclusive route has lost its turn to another process: this process stood still for more than ${LEASE_MS} ms`
        )
      }
    } catch (error) {
      this.#log.warn({ err: error }, 'the turn of a request in an exclusive route was not renewed')
    }
  }
}

function leaseOf(handle: string): string {
  return `exclusive ${handle}`
}
