import type { SessionRecord } from '../../record/record.js'
import type { Filing } from './codec.js'
import { HANDLE_LENGTH, type RedisKeys } from './keys.js'
import type { RedisServer } from './server.js'

/**
 * How much longer an entry is kept than its session, in ms, at least. A server whose clock is ahead
 * must not take live sessions out of the list that "log out everywhere" uses.
 */
const SPARE = 86_400_000

/**
 * The sessions of each user. A list is in another slot than its sessions, so the two never change
 * in one step: an entry is there before the session is the user's and until after it is not. What
 * is left over when a process dies in between goes with its time; whoever reads a list asks the
 * session whose it is.
 *
 * Each entry has a mark of its own. Who takes an old one out never takes out a newer one.
 */
export class UserLists {
  readonly #server: RedisServer
  readonly #keys: RedisKeys
  readonly #now: () => number

  constructor(server: RedisServer, keys: RedisKeys, now: () => number) {
    this.#server = server
    this.#keys = keys
    this.#now = now
  }

  /**
   * Sees that the list of its user has a session that is about to be stored like this.
   *
   * @param before where it is listed already
   * @param mark for an entry that is new
   */
  async file(record: SessionRecord, before: Filing | null, mark: string): Promise<Filing | null> {
    const { handle, principal, expiresAt } = record
    if (principal === null) return null
    const known = before?.principal === principal ? before : null
    if (known !== null && known.until - expiresAt >= SPARE / 2) return known
    const now = this.#now()
    // As long again as the session lasts: one that is in use is filed again once in that time.
    const until = Math.ceil(expiresAt + Math.max(SPARE, expiresAt - now))
    const filing = { principal, mark: known?.mark ?? mark, until }
    await this.#server.file(this.#keys.principal(principal), handle + filing.mark, until, now)
    return filing
  }

  /** Takes out an entry that does not stand for the session any more. */
  async remove(handle: string, { principal, mark }: Filing): Promise<void> {
    // What it follows is stored, and an entry that stays misleads nobody.
    await this.#server.unfile(this.#keys.principal(principal), handle + mark).catch(() => {})
  }

  /** The handles in a user's list, each once. */
  async *handlesOf(principal: string): AsyncGenerator<string[]> {
    const seen = new Set<string>()
    for await (const members of this.#server.members(this.#keys.principal(principal))) {
      const handles = new Set(members.map((member) => member.slice(0, HANDLE_LENGTH)))
      const fresh = [...handles].filter((handle) => !seen.has(handle))
      for (const handle of fresh) seen.add(handle)
      if (fresh.length > 0) yield fresh
    }
  }
}
