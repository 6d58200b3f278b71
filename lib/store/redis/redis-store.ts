import {
  InvalidHandleError,
  isOurs,
  RecordCorruptError,
  StoreUnavailableError
} from '../../errors.js'
import { handleOf, isHandle, shortHandle } from '../../record/handle.js'
import { type Option, option, readOptions, refuse, string } from '../../record/option.js'
import type { NewRecord, SessionRecord } from '../../record/record.js'
import type { LeftOut, SessionChanges, SessionStore, StoreContext } from '../session-store.js'
import { NO_STATS, type StoreStats } from '../stats.js'
import { STORE_TIMEOUT } from '../store-options.js'
import { Quarantine } from '../unreadable.js'
import { type Claimant, Claims } from './claims.js'
import type { RedisClient } from './client.js'
import { decodeHash } from './codec.js'
import { handleOfMember, memberOf, RedisKeys } from './keys.js'
import { RecordWriter } from './record-writer.js'
import { RedisRecord } from './redis-record.js'
import { RedisServer } from './server.js'

export interface RedisStoreOptions {
  /** A connected client of `redis` (node-redis) or `ioredis`. The application closes it. */
  client: RedisClient
  /**
   * What the names of all keys begin with. Default `{session}:`. Give each application its own,
   * and keep the braces: a cluster puts all keys with the same text in braces into one slot.
   */
  prefix?: string
}

const OPTIONS = {
  client: option(anyClient, undefined),
  prefix: option(string, '{session}:')
} satisfies Record<keyof RedisStoreOptions, Option<unknown>>

const HINTS = { timeout: "use the plugin's option storeTimeout" }

/** `commandSender` finds out which kind of client it is. */
function anyClient(value: unknown, name: string): RedisClient {
  if (typeof value !== 'object' || value === null) {
    refuse(name, 'must be a client of "redis" or "ioredis"')
  }
  return value as RedisClient
}

const BATCH = 32
const claims = new Claims()

/**
 * Sessions in Redis (6 or later) or Valkey, for several processes and machines. Each load gives a
 * record of its own. What a request has changed is merged by scripts in the server, key by key; a
 * session that ended meanwhile is never brought back.
 *
 * Redis deletes expired sessions by itself. Session ids never leave the process.
 *
 * ```ts
 * const client = await createClient({ url: 'redis://127.0.0.1:6379' }).connect()
 * await fastify.register(sledSession, { store: new RedisStore({ client }) })
 * ```
 */
export class RedisStore implements SessionStore {
  readonly writers = 'several'
  readonly #place: Claimant
  readonly #keys: RedisKeys
  readonly #server: RedisServer
  #context!: StoreContext
  #writer!: RecordWriter
  #quarantine!: Quarantine

  /** @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` */
  constructor(options: RedisStoreOptions) {
    const { client, prefix } = readOptions(OPTIONS, options, { hints: HINTS })
    this.#keys = new RedisKeys(prefix)
    this.#server = new RedisServer(client)
    this.#place = { client, prefix, keys: this.#keys, server: this.#server }
  }

  async open(context: StoreContext): Promise<void> {
    this.#context = context
    this.#server.timeout = context.timeout ?? STORE_TIMEOUT
    this.#quarantine = new Quarantine(context)
    this.#writer = new RecordWriter(this.#server, this.#keys, context.now)
    try {
      await this.#server.greet(this.#keys.handles)
      await claims.enter(this.#place)
    } catch (error) {
      throw isOurs(error) ? error : new StoreUnavailableError('reach Redis', { cause: error })
    }
  }

  create(start: NewRecord): RedisRecord {
    return new RedisRecord(start)
  }

  load(id: string): Promise<RedisRecord | null> {
    return this.loadByHandle(handleOf(id))
  }

  async loadByHandle(handle: string): Promise<RedisRecord | null> {
    try {
      return this.#alive(await this.read(handle))
    } catch (error) {
      if (!(error instanceof RecordCorruptError)) throw error
      await this.#quarantine.put(handle, error, () => this.#writer.quarantine(handle))
      return null
    }
  }

  async read(handle: string): Promise<RedisRecord | null> {
    if (!isHandle(handle)) return null
    const fields = await this.#fields(handle)
    return fields.size === 0 ? null : decodeHash(handle, fields)
  }

  save(record: SessionRecord, changes: SessionChanges | null): Promise<void> {
    return this.#writer.save(record as RedisRecord, changes)
  }

  replace(
    old: SessionRecord,
    fresh: SessionRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean> {
    return this.#writer.replace(old as RedisRecord, fresh as RedisRecord, keep)
  }

  async destroy(record: SessionRecord): Promise<void> {
    const found = await this.#writer.destroy(record as RedisRecord)
    record.destroyed = true
    const successor = found ? null : await this.loadSuccessor(record.handle)
    if (successor !== null) await this.destroy(successor)
  }

  async loadSuccessor(handle: string): Promise<RedisRecord | null> {
    const member = await this.#server.text(this.#keys.successor(handle))
    if (member === null) return null
    const next = handleOfMember(member)
    return (await this.loadByHandle(next)) ?? this.loadSuccessor(next)
  }

  compareAndSet(
    record: SessionRecord,
    key: string,
    expected: string | undefined,
    text: string | undefined
  ): Promise<boolean> {
    return this.#writer.compareAndSet(record as RedisRecord, key, expected, text)
  }

  takeLease(name: string, owner: string, milliseconds: number): Promise<boolean> {
    return this.#writer.takeLease(name, owner, milliseconds)
  }

  releaseLease(name: string, owner: string): Promise<void> {
    return this.#writer.releaseLease(name, owner)
  }

  async *handlesOf(principal: string): AsyncGenerator<string[]> {
    const key = this.#keys.principal(principal)
    // The server gives a member again if it makes room for more during the walk.
    const seen = new Set<string>()
    let cursor: string | null = null
    do {
      const found = await this.#server.membersFrom(key, cursor ?? FIRST_CURSOR)
      cursor = found.cursor
      const fresh = found.members.filter((member) => !seen.has(member))
      for (const member of fresh) seen.add(member)
      if (fresh.length > 0) yield fresh.map(handleOfMember)
    } while (cursor !== FIRST_CURSOR)
  }

  count(): Promise<number> {
    return this.#server.countOver(this.#keys.expiry, this.#context.now())
  }

  async *records(after?: string, leftOut: LeftOut = () => {}): AsyncGenerator<RedisRecord> {
    if (after !== undefined && !isHandle(after)) throw new InvalidHandleError()
    let last = after === undefined ? null : memberOf(after)
    for (;;) {
      const members = await this.#server.behind(this.#keys.handles, last, BATCH)
      const found = await Promise.all(
        members.map((member) => this.#readAlive(handleOfMember(member), leftOut))
      )
      for (const record of found) if (record !== null) yield record
      if (members.length < BATCH) return
      last = members.at(-1) ?? null
    }
  }

  async putRecords(records: readonly SessionRecord[]): Promise<void> {
    if (records.length > 0) await this.#writer.put(records)
  }

  async lastCopyAt(): Promise<number | null> {
    const text = await this.#server.text(this.#keys.copied)
    return text === null ? null : Number(text)
  }

  noteCopy(at: number): Promise<void> {
    return this.#server.setText(this.#keys.copied, String(at))
  }

  /** Redis has mostly done it already; what is left of them in the indexes is counted and removed. */
  async deleteExpired(onProgress?: (deleted: number) => void): Promise<number> {
    const now = this.#context.now()
    let deleted = 0
    for (;;) {
      const members = await this.#server.due(this.#keys.expiry, now, BATCH)
      if (members.length > 0) deleted += await this.#writer.expire(members)
      onProgress?.(deleted)
      if (members.length < BATCH) return deleted
    }
  }

  async stats(): Promise<StoreStats> {
    const sessions = await this.count()
    return { ...NO_STATS, store: 'redis', sessions, quarantined: this.#quarantine.count }
  }

  async close(): Promise<void> {
    claims.leave(this.#place)
  }

  #alive(record: RedisRecord | null): RedisRecord | null {
    return record !== null && record.expiresAt > this.#context.now() ? record : null
  }

  async #fields(handle: string): Promise<ReadonlyMap<string, string>> {
    try {
      return await this.#server.hash(this.#keys.record(handle))
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('WRONGTYPE')) throw error
      throw new RecordCorruptError('it is no hash')
    }
  }

  /** For walks, which leave what does not decode where it is. */
  async #readAlive(handle: string, leftOut: LeftOut): Promise<RedisRecord | null> {
    try {
      return this.#alive(await this.read(handle))
    } catch (error) {
      if (!(error instanceof RecordCorruptError)) throw error
      const session = shortHandle(handle)
      this.#context.log.error({ session, err: error }, 'a corrupt session record was left out')
      leftOut(session)
      return null
    }
  }
}

/** A walk by ZSCAN begins with this cursor and has ended when it comes back. */
const FIRST_CURSOR = '0'
