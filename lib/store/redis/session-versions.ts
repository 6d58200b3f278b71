import { randomBytes } from 'node:crypto'
import { elapsed, pause } from '../../timers.js'
import { decodeSession, movedTo, type StoredSession } from './codec.js'
import type { RedisKeys } from './keys.js'
import type { RedisRecord } from './redis-record.js'
import type { RedisServer } from './server.js'
import { type WriteQueue, WriteQueues } from './write-queues.js'

/** In ms; chance parts those who keep getting in each other's way. */
const LONGEST_PAUSE = 10

/** One version of a session, which a write is about to replace. */
export interface Version {
  readonly session: StoredSession
  /** As it is stored. */
  readonly text: string
  /** Its deadline, whatever is made of its record. */
  readonly expiresAt: number
  /** Whether it was stored during this write, and not only when the request loaded it. */
  readonly isCurrent: boolean
}

/** A session as a write has stored it. */
export interface WrittenSession extends StoredSession {
  readonly text: string
}

/** What a write has left behind, or what it has found in the place of the version that it expected. */
export type Attempt<T> =
  | { readonly done: T; readonly text: string }
  | { readonly found: string | null }

/** Tries writes with what is stored, until no other process is faster. */
export class SessionVersions {
  readonly #server: RedisServer
  readonly #keys: RedisKeys
  readonly #now: () => number
  readonly #queues = new WriteQueues()

  constructor(server: RedisServer, keys: RedisKeys, now: () => number) {
    this.#server = server
    this.#keys = keys
    this.#now = now
  }

  /** Resolves to `null` if the session has ended; `attempt` is not called any more then. */
  write<T>(
    record: RedisRecord,
    attempt: (version: Version) => Promise<Attempt<T>>
  ): Promise<T | null> {
    return this.#queues.run(record.handle, (queue) => this.#write(record, queue, attempt))
  }

  /** What is stored by now, to be tried in the place of what is not current. */
  async current({ handle }: RedisRecord): Promise<{ found: string | null }> {
    return { found: await this.#server.text(this.#keys.record(handle)) }
  }

  async #write<T>(
    record: RedisRecord,
    queue: WriteQueue,
    attempt: (version: Version) => Promise<Attempt<T>>
  ): Promise<T | null> {
    const since = elapsed()
    let text = queue.stored ?? record.stored
    let isCurrent = queue.stored !== null
    for (let attempts = 0; elapsed() - since < this.#server.timeout; attempts++) {
      if (attempts > 2) await pause(Math.random() * LONGEST_PAUSE)
      const session = this.#alive(record, text)
      if (text === null || (session === null && isCurrent)) return null
      const outcome =
        session === null
          ? await this.current(record)
          : await attempt({ session, text, isCurrent, expiresAt: session.record.expiresAt })
      if ('done' in outcome) {
        queue.stored = outcome.text
        return outcome.done
      }
      text = outcome.found
      isCurrent = true
    }
    throw new Error('other processes keep changing the session')
  }

  #alive({ handle, born }: RedisRecord, text: string | null): StoredSession | null {
    if (text === null || movedTo(text) !== null) return null
    const session = decodeSession(handle, text)
    return session.born === born && session.record.expiresAt > this.#now() ? session : null
  }
}

/** Tells a session from earlier ones under its handle. */
export function newBirth(): string {
  return randomBytes(6).toString('base64url')
}
