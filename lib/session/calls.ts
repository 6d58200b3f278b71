import type { UnitOfWork } from './unit-of-work.js'

/** Called once, with the error if there is one. */
export type Done = (error: Error | null) => void

/** What a handler asked of its session, and need not await: the response waits for it. */
export class Calls {
  private pending: Promise<unknown> | null = null
  private failures: { readonly by: Attended<unknown>; readonly error: Error }[] | null = null

  /** The response waits for this, and fails if it does. */
  hold(work: Promise<unknown>): void {
    const pending = this.pending === null ? work : Promise.all([this.pending, work])
    // Whoever forgets to await must not bring the process down; the response gets the error.
    pending.catch(() => {})
    this.pending = pending
  }

  /** The response fails by this unless somebody attends to it until then. */
  fail(by: Attended<unknown>, error: unknown): void {
    this.failures ??= []
    this.failures.push({ by, error: error as Error })
  }

  /** Calls back when none of them is under way any more. */
  settle(done: Done): void {
    const settled = (): void => {
      const failure = this.failures?.find(({ by }) => !by.attended)
      done(failure?.error ?? null)
    }
    Promise.resolve(this.pending).then(settled, done)
  }
}

/**
 * For what a handler may do without waiting for it. The response waits, and if it fails and
 * nobody looks, it is the response that fails; after the response, the log has it.
 */
export function attend<T>(work: UnitOfWork, call: Promise<T>): Promise<T> {
  const attended = Attended.of(call)
  work.calls ??= new Calls()
  const { calls } = work
  const outcome = attended.outcome().then((failure) => {
    if (failure === null || attended.attended) return
    if (!work.closed) calls.fail(attended, failure.error)
    else {
      work.registration.log.error(
        { err: failure.error },
        'a session could not be changed after its response'
      )
    }
  })
  if (!work.closed) calls.hold(outcome)
  return attended
}

/**
 * A promise that knows whether anybody waits for it. What a handler does without `await` and what
 * then fails would be an unhandled rejection, which ends the process; so it is told by this, and
 * reported where it can be.
 */
class Attended<T> extends Promise<T> {
  static override get [Symbol.species](): PromiseConstructor {
    return Promise
  }

  /** Somebody waits, or has: how it ends is their affair. */
  attended = false

  static of<T>(work: Promise<T>): Attended<T> {
    return new Attended((resolve) => resolve(work))
  }

  // Await calls it too, as this is no plain promise.
  // biome-ignore lint/suspicious/noThenProperty: it is a promise
  override then<R = T, E = never>(
    fulfilled?: ((value: T) => R | PromiseLike<R>) | null | undefined,
    rejected?: ((reason: unknown) => E | PromiseLike<E>) | null | undefined
  ): Promise<R | E> {
    this.attended = true
    return super.then(fulfilled, rejected)
  }

  /** Resolves when it has ended, to why it failed if it did. Looking is not waiting. */
  outcome(): Promise<{ readonly error: unknown } | null> {
    return super.then(
      () => null,
      (error: unknown) => ({ error })
    )
  }
}
