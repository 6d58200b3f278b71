import { parsePrincipalKey, partRange, principalRange, recordRange } from '../format/keys.js'
import type { LeftOut, StoreContext } from '../session-store.js'
import { type DamageLog, databaseFailure } from './engine/damage.js'
import type { OpenColumnFamily } from './engine/database.js'
import type { Entry } from './engine/read-batch.js'
import { scanRecords } from './engine/scan.js'
import { type KeyRange, Walk } from './engine/walk.js'
import type { LiveRecord } from './live-record.js'

const ENTRIES_PER_READ = 128

/**
 * Walks over what is stored, beside what cannot be read. Nothing stays open between batches: who
 * walks may take their time.
 */
export class Walks {
  readonly #connection: OpenColumnFamily
  readonly #context: StoreContext
  readonly #damage: DamageLog
  readonly #stopped: () => boolean

  constructor(
    connection: OpenColumnFamily,
    context: StoreContext,
    damage: DamageLog,
    stopped: () => boolean
  ) {
    this.#connection = connection
    this.#context = context
    this.#damage = damage
    this.#stopped = stopped
  }

  async *handlesOf(principal: string): AsyncGenerator<string[]> {
    let whole = true
    const miss = (): void => {
      whole = false
    }
    for await (const keys of this.#keys(principalRange(principal), miss)) {
      yield keys.map(parsePrincipalKey)
    }
    if (!whole) yield* this.#handlesInRecords(principal)
  }

  /** Nobody is to outlive a logout because the list of a user is damaged: the records tell too. */
  async *#handlesInRecords(principal: string): AsyncGenerator<string[]> {
    const listed = new Set<string>()
    for await (const keys of this.#keys(principalRange(principal))) {
      for (const key of keys) listed.add(parsePrincipalKey(key))
    }
    for await (const record of this.records()) {
      if (record.principal === principal && !listed.has(record.handle)) yield [record.handle]
    }
  }

  async count(): Promise<number> {
    let count = 0
    for await (const keys of this.#keys(recordRange())) count += keys.length
    return count
  }

  /** What is under the keys of its own that a session has, whatever its record says of it. */
  async parts(handle: string, values = true): Promise<Entry[]> {
    const parts: Entry[] = []
    for await (const entries of this.#entries(partRange(handle), values)) parts.push(...entries)
    return parts
  }

  async *records(after?: string, leftOut: LeftOut = () => {}): AsyncGenerator<LiveRecord> {
    const { now, log } = this.#context
    const source = { log, now, leftOut, stopped: this.#stopped, noteDamage: this.#damage.noteRead }
    try {
      yield* scanRecords({ ...source, db: this.#connection.db }, after)
    } catch (error) {
      throw databaseFailure('list sessions', error)
    }
  }

  /** The keys of a range, in pieces, beside those that cannot be read. */
  async *#keys(range: KeyRange, onGap?: () => void): AsyncGenerator<Buffer[]> {
    for await (const entries of this.#entries(range, false, onGap)) {
      yield entries.map(({ key }) => key)
    }
  }

  async *#entries(
    range: KeyRange,
    values: boolean,
    onGap: () => void = () => {}
  ): AsyncGenerator<Entry[]> {
    const options = { limit: ENTRIES_PER_READ, values }
    const walk = new Walk(this.#connection, range, options, ({ error }) => {
      this.#damage.noteRead(error)
      onGap()
    })
    try {
      yield* walk
    } catch (error) {
      throw databaseFailure('list sessions', error)
    }
  }
}
