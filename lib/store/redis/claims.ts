import { randomBytes } from 'node:crypto'
import { InvalidOptionError } from '../../errors.js'
import type { RedisClient } from './client.js'
import type { RedisKeys } from './keys.js'
import type { RedisServer } from './server.js'

/** What other stores must know of an open one. */
export interface Claimant {
  readonly client: RedisClient
  readonly prefix: string
  readonly keys: RedisKeys
  readonly server: RedisServer
}

/** The open stores of this process. Two on the same keys would take each other's sessions for their own. */
export class Claims {
  readonly #byPrefix = new Map<string, Set<Claimant>>()
  /** Stores open one after the other: of two that open together, one must find the other. */
  #opening: Promise<void> = Promise.resolve()

  /** @throws {InvalidOptionError} if another store has its keys */
  async enter(own: Claimant): Promise<void> {
    const entering = this.#opening.then(() => this.#enter(own))
    this.#opening = entering.catch(() => {})
    await entering
  }

  leave(own: Claimant): void {
    this.#byPrefix.get(own.prefix)?.delete(own)
  }

  async #enter(own: Claimant): Promise<void> {
    const others = this.#byPrefix.get(own.prefix) ?? new Set()
    for (const other of others) {
      if (await shareServer(own, other)) {
        const problem = `"${own.prefix}" is in use on this server by another store of this process: give each its own`
        throw new InvalidOptionError('prefix', problem)
      }
    }
    this.#byPrefix.set(own.prefix, others.add(own))
  }
}

/** Clients and addresses may differ where the server is one: what one writes, the other finds. */
async function shareServer(own: Claimant, other: Claimant): Promise<boolean> {
  if (other.client === own.client) return true
  const key = own.keys.probe(randomBytes(9).toString('base64url'))
  await own.server.leaveMark(key)
  // A store whose client reaches no server is no rival: the client may have been closed long ago.
  return other.server.delete(key).catch(() => false)
}
