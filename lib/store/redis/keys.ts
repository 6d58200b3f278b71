import { hash } from 'node:crypto'

/**
 * The names of the keys of one store. All begin with its prefix; with a hash tag in it
 * (`{app}:`), a cluster keeps all of them in one slot, which the scripts need.
 */
export class RedisKeys {
  /** Sorted set: when each session expires. */
  readonly expiry: string
  /** Sorted set without scores: all sessions, in the order of their handles. */
  readonly handles: string
  /** Text: when a copy from another store last made this one the same. */
  readonly copied: string
  readonly #prefix: string

  constructor(prefix: string) {
    this.#prefix = prefix
    this.expiry = `${prefix}expiry`
    this.handles = `${prefix}handles`
    this.copied = `${prefix}copied`
  }

  /** Hash: one session. */
  record(handle: string): string {
    return `${this.#prefix}session:${handle}`
  }

  /** What did not decode, as it was found. */
  quarantine(handle: string): string {
    return `${this.#prefix}quarantine:${handle}`
  }

  /** String: where a session that was renewed goes on, for those who loaded it before. */
  successor(handle: string): string {
    return `${this.#prefix}successor:${handle}`
  }

  /** String: who has this lease. */
  lease(name: string): string {
    return `${this.#prefix}lease:${name}`
  }

  /** String: a mark by which one store finds out whether another is on the same server. */
  probe(name: string): string {
    return `${this.#prefix}probe:${name}`
  }

  /** Sorted set: the sessions of one user by when they expire. */
  principal(principal: string): string {
    return `${this.#prefix}principal:${hash('sha256', principal, 'base64url')}`
  }
}

/** A session in the sorted sets: its handle in hexadecimal, which sorts as the bytes do. */
export function memberOf(handle: string): string {
  return Buffer.from(handle, 'base64url').toString('hex')
}

export function handleOfMember(member: string): string {
  return Buffer.from(member, 'hex').toString('base64url')
}
