/**
 * A promise that knows whether anybody waits for it. What a handler does without `await` and what
 * then fails would be an unhandled rejection, which ends the process; so it is told by this, and
 * reported where it can be.
 */
export class Attended<T> extends Promise<T> {
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
