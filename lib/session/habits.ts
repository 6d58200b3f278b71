import { MisuseError } from '../errors.js'

/**
 * Habits from other session plugins that would do nothing here, and that nobody would notice:
 * values as properties, and callbacks.
 */

/** The end of the prototype chain, where an assignment comes to that no property takes. */
export const NO_PROPERTIES: object = new Proxy(Object.prototype, {
  set(_target, key, value, session): boolean {
    // What a library notes on the object for itself is its own.
    if (typeof key === 'symbol') return Reflect.defineProperty(session, key, own(value))
    throw new MisuseError(
      `session.${key}`,
      `is no property: use session.set(${JSON.stringify(key)}, value)`
    )
  }
})

/** An assignment to a getter is silent outside strict mode, which plain CommonJS is. */
export function refuseAssignments(prototype: object, instead: Record<string, string>): void {
  for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (property.get === undefined || property.set !== undefined) continue
    const set = (): void => {
      throw new MisuseError(`session.${name}`, instead[name] ?? 'is read-only')
    }
    Object.defineProperty(prototype, name, { ...property, set })
  }
}

/**
 * Nothing is put in the place of a session: `request.session = null` would log nobody out.
 *
 * @throws {MisuseError}
 */
export function refuseSession(sessionName: string): never {
  const remedy = 'cannot be replaced: session.destroy() ends it, session.set(key, value) fills it'
  throw new MisuseError(`request.${sessionName}`, remedy)
}

/** @throws {MisuseError} if a callback is among the arguments: it would never be called */
export function refuseCallback(method: string, given: Iterable<unknown>): void {
  for (const argument of given) {
    if (typeof argument === 'function') {
      const remedy = 'takes no callback: await the promise that it returns'
      throw new MisuseError(`session.${method}()`, remedy)
    }
  }
}

function own(value: unknown): PropertyDescriptor {
  return { value, writable: true, enumerable: false, configurable: true }
}
