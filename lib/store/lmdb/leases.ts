import { randomUUID } from 'node:crypto'
import { leaseKey, leaseRange } from '../format/keys.js'
import type { Database } from './engine/database.js'

/** Behind until when it is held, as a double in ms. */
const OWNER_AT = 8
const BATCH = 128
/** None is for longer. */
const LONGEST_MS = 3_600_000

/**
 * What one owner of all processes may hold at a time. It ends by itself, so that a process that was
 * killed holds nothing for long. Its clock is the machine's own, which no one sets; after a
 * restart of the machine that begins anew, so a lease that seems to last longer than one can has ended.
 */
export class Leases {
  readonly #database: Database
  readonly #clock: () => number

  constructor(database: Database, clock: () => number = sinceBoot) {
    this.#database = database
    this.#clock = clock
  }

  /**
   * Takes or renews a lease for so many ms.
   *
   * @returns false if another owner has it
   */
  async take(name: string, owner: string, milliseconds: number): Promise<boolean> {
    const key = leaseKey(name)
    for (;;) {
      const found = this.#find(key, milliseconds)
      if (found.owner !== null && found.owner !== owner) return false
      const value = Buffer.alloc(OWNER_AT + owner.length)
      value.writeDoubleBE(this.#clock() + milliseconds)
      value.write(owner, OWNER_AT, 'latin1')
      if (await this.#database.swapNote(key, found.version, value)) return true
    }
  }

  async release(name: string, owner: string): Promise<void> {
    const key = leaseKey(name)
    const found = this.#find(key, Number.POSITIVE_INFINITY)
    if (found.owner !== owner) return
    await this.#database.swapNote(key, found.version, null)
  }

  /** What processes that were killed have left; as many as fit in one batch. */
  async removeEnded(): Promise<void> {
    const { notes } = this.#database
    this.#database.refresh()
    const { gte, lt } = leaseRange()
    const removals: Promise<boolean>[] = []
    for (const key of this.#database.keys(notes, { start: gte, end: lt, limit: BATCH })) {
      const { owner, version } = this.#find(key, LONGEST_MS)
      if (owner === null) removals.push(this.#database.swapNote(key, version, null))
    }
    await Promise.all(removals)
  }

  #find(key: Buffer, longest: number): { owner: string | null; version: number | null } {
    this.#database.refresh()
    const entry = this.#database.read(this.#database.notes, key)
    if (entry === null) return { owner: null, version: null }
    const left = entry.bytes.readDoubleBE(0) - this.#clock()
    const holds = left > 0 && left <= longest
    return {
      owner: holds ? entry.bytes.toString('latin1', OWNER_AT) : null,
      version: entry.version
    }
  }
}

/** A name that no other owner has. */
export function newOwner(): string {
  return randomUUID()
}

/** In ms; the same for all processes of this machine. */
function sinceBoot(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}
