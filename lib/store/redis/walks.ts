import { isRefusedBy } from './client.js'
import { expiresIn, MOVED_LENGTH } from './codec.js'
import type { RedisKeys } from './keys.js'
import type { RedisRecord } from './redis-record.js'
import type { RedisServer } from './server.js'
import { sortedHandles } from './sorted-handles.js'

/** Sessions that are read at one time. */
const BATCH = 32

/** What looks at all sessions: there is no list of them, so each walk goes through all keys. */
export class Walks {
  readonly #server: RedisServer
  readonly #keys: RedisKeys

  constructor(server: RedisServer, keys: RedisKeys) {
    this.#server = server
    this.#keys = keys
  }

  /**
   * A server may name a key twice while it makes room for more. Such count twice: to know all that
   * have been named would take memory without bound.
   */
  async count(): Promise<number> {
    let count = 0
    for await (const handles of this.#handles()) {
      const lengths = await Promise.all(
        handles.map((handle) => orNoText(this.#server.length(this.#keys.record(handle)), 0))
      )
      count += lengths.filter((length) => length > MOVED_LENGTH).length
    }
    return count
  }

  /** In the order of their handles. @param read gives `null` for what is no session to be shown */
  async *records(
    after: string | undefined,
    read: (handle: string) => Promise<RedisRecord | null>
  ): AsyncGenerator<RedisRecord> {
    for await (const handles of sortedHandles(() => this.#handles(), after)) {
      for (let at = 0; at < handles.length; at += BATCH) {
        for (const record of await Promise.all(handles.slice(at, at + BATCH).map(read))) {
          if (record !== null) yield record
        }
      }
    }
  }

  /** Deletes what is past its time by this clock, and is there by the server's. */
  async deleteExpired(now: () => number, onProgress?: (deleted: number) => void): Promise<number> {
    let deleted = 0
    for await (const handles of this.#handles()) {
      const outcomes = await Promise.all(handles.map((handle) => this.#expire(handle, now())))
      deleted += outcomes.filter(Boolean).length
      onProgress?.(deleted)
    }
    return deleted
  }

  async #expire(handle: string, now: number): Promise<boolean> {
    const key = this.#keys.record(handle)
    const found = expiresIn(await orNoText(this.#server.start(key), ''))
    if (found === null || found.expiresAt > now) return false
    return this.#server.remove(key, found.mark)
  }

  async *#handles(): AsyncGenerator<string[]> {
    for await (const keys of this.#server.keys(this.#keys.everyRecord)) {
      yield keys.map((key) => this.#keys.handleIn(key))
    }
  }
}

/** A key of another type is no session, and stops no walk. */
async function orNoText<T>(reading: Promise<T>, instead: T): Promise<T> {
  try {
    return await reading
  } catch (error) {
    if (isRefusedBy(error, 'WRONGTYPE')) return instead
    throw error
  }
}
