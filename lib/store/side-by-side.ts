/** What two walks have at one place, of which one may have nothing there. */
export type Pair<T> = readonly [wanted: T, present: T | null] | readonly [null, T]

/** Two walks in one order as one; both are ended if this one is. */
export async function* sideBySide<T extends object>(
  wanted: AsyncIterable<T>,
  present: AsyncIterable<T>,
  compare: (one: T, other: T) => number
): AsyncGenerator<Pair<T>> {
  const one = wanted[Symbol.asyncIterator]()
  const other = present[Symbol.asyncIterator]()
  try {
    let [a, b] = await Promise.all([next(one), next(other)])
    while (a !== null || b !== null) {
      // The end of a walk comes behind all else.
      const order = a === null ? 1 : b === null ? -1 : compare(a, b)
      yield [order <= 0 ? a : null, order >= 0 ? b : null] as Pair<T>
      ;[a, b] = await Promise.all([order <= 0 ? next(one) : a, order >= 0 ? next(other) : b])
    }
  } finally {
    await Promise.all([one.return?.(), other.return?.()])
  }
}

async function next<T extends object>(walk: AsyncIterator<T>): Promise<T | null> {
  const { done, value } = await walk.next()
  return done === true ? null : value
}
