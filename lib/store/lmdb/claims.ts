import { InvalidOptionError } from '../../errors.js'
import { identify } from '../folder.js'

/**
 * The folders of this process's open stores. Two registrations on the same sessions would take each
 * other's for their own.
 */
export class Claims {
  readonly #inUse = new Set<string>()

  /**
   * @returns how to give the folder back
   * @throws {InvalidOptionError} if another store has it
   */
  async enter(path: string): Promise<() => void> {
    const identity = await identify(path)
    if (this.#inUse.has(identity)) {
      const problem = `"${path}" is in use by another store of this process: give each its own`
      throw new InvalidOptionError('path', problem)
    }
    this.#inUse.add(identity)
    return () => this.#inUse.delete(identity)
  }
}
