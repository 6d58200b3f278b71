import { hash } from 'node:crypto'

/**
 * The names of the keys of one store. All begin with its prefix, which has no braces: those around
 * a handle make a cluster spread the sessions over all of its slots.
 */
export class RedisKeys {
  /** Text: when a copy from another store last made this one the same. */
  readonly copied: string
  readonly #prefix: string

  constructor(prefix: string) {
    this.#prefix = prefix
    this.copied = `${prefix}copied`
  }

  /** String: one session, or where it goes on. */
  record(handle: string): string {
    return `${this.#prefix}{${handle}}`
  }

  /** What matches the keys of all sessions, and no other. */
  get everyRecord(): string {
    return `${this.#prefix.replace(/[\\*?[\]]/g, '\\$&')}{*}`
  }

  /** The handle in the key of a session. */
  handleIn(key: string): string {
    return key.slice(key.length - HANDLE_LENGTH - 1, -1)
  }

  /** What did not decode, as it was found; in the slot of its session. */
  quarantine(handle: string): string {
    return `${this.#prefix}quarantine:{${handle}}`
  }

  /** String: who has this lease. */
  lease(name: string): string {
    return `${this.#prefix}lease:${name}`
  }

  /** String: a mark by which one store finds out whether another is on the same server. */
  probe(name: string): string {
    return `${this.#prefix}probe:${name}`
  }

  /** Sorted set: the sessions of one user by how long their entries are kept. */
  principal(principal: string): string {
    return `${this.#prefix}principal:${hash('sha256', principal, 'base64url')}`
  }
}

export const HANDLE_LENGTH = 43
