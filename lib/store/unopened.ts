/**
 * What stands in a store for all that `open` makes, so that whoever forgets it is told what is
 * missing and not which property of `undefined` there is not.
 */
export function unopened<T extends object>(): T {
  const refuse = (): never => {
    throw new Error('the store has not been opened: call its open() first')
  }
  return new Proxy({} as T, { get: refuse })
}
