/** Longer than a request takes that loaded the session before it ended. */
const REMEMBERED_FOR = 60_000
const MOST_REMEMBERED = 10_000

interface Ending {
  readonly order: number
  readonly at: number
}

/**
 * Sessions that have ended a short while ago. A request that loaded one before saves it whole at its
 * end, under the same id, and would undo the logout.
 *
 * A session that begins after the ending may have the same id: some applications make ids that
 * repeat. It is stored.
 */
export class EndedSessions {
  readonly #now: () => number
  readonly #endings = new Map<string, Ending>()
  readonly #begun = new WeakMap<object, number>()
  #order = 0

  constructor(now: () => number) {
    this.#now = now
  }

  /** Notes that a session was begun. */
  noteBegun(session: object): void {
    this.#begun.set(session, this.#order)
  }

  /** The number of an ending, taken when it is asked for and not when it is done. */
  next(): number {
    return ++this.#order
  }

  add(handle: string, order: number): void {
    this.#endings.delete(handle)
    this.#endings.set(handle, { order, at: this.#now() })
    for (const [oldest, { at }] of this.#endings) {
      if (this.#endings.size <= MOST_REMEMBERED && this.#isRecent(at)) return
      this.#endings.delete(oldest)
    }
  }

  /** Whether saving this session would bring back one that has ended. */
  forbids(handle: string, session: object): boolean {
    const ending = this.#endings.get(handle)
    if (ending === undefined || !this.#isRecent(ending.at)) return false
    return (this.#begun.get(session) ?? 0) < ending.order
  }

  #isRecent(at: number): boolean {
    return this.#now() - at < REMEMBERED_FOR
  }
}
