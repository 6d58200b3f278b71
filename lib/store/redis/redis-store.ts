import {
  InvalidHandleError,
  isOurs,
  RecordCorruptError,
  StoreUnavailableError
} from '../../errors.js'
import { handleOf, isHandle } from '../../record/handle.js'
import type { NewRecord, SessionRecord } from '../../record/record.js'
import type { LeftOut, SessionChanges, SessionStore, StoreContext } from '../session-store.js'
import { NO_STATS, type StoreStats } from '../stats.js'
import { STORE_TIMEOUT } from '../store-options.js'
import { unopened } from '../unopened.js'
import { orLeftOut, Quarantine } from '../unreadable.js'
import { type Claimant, Claims } from './claims.js'
import { isRefusedBy } from './client.js'
import { decodeRecord, encodeMoved, movedTo } from './codec.js'
import { RedisKeys } from './keys.js'
import { type RedisStoreOptions, readRedisOptions } from './options.js'
import { RecordWriter } from './record-writer.js'
import { RedisRecord } from './redis-record.js'
import { Renewals } from './renewals.js'
import { RedisServer } from './server.js'
import { SessionVersions } from './session-versions.js'
import { UserLists } from './user-lists.js'
import { Walks } from './walks.js'
import { WriteMarks } from './write-marks.js'

const claims = new Claims()

/**
 * Sessions in Redis (6 or later) or Valkey, for several processes and machines, spread over all
 * nodes of a cluster. Each load gives a record of its own. What a request has changed is merged key
 * by key with what others have stored; a session that ended meanwhile is never brought back.
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
  readonly expiresByItself = true
  readonly #place: Claimant
  readonly #keys: RedisKeys
  readonly #server: RedisServer
  #context: StoreContext = unopened()
  #lists: UserLists = unopened()
  #writer: RecordWriter = unopened()
  #renewals: Renewals = unopened()
  #walks: Walks = unopened()
  #quarantine: Quarantine = unopened()

  /** @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` */
  constructor(options: RedisStoreOptions) {
    const { client, prefix, replicas } = readRedisOptions(options)
    this.#keys = new RedisKeys(prefix)
    this.#server = new RedisServer(client, replicas)
    this.#place = { client, prefix, keys: this.#keys, server: this.#server }
  }

  async open(context: StoreContext): Promise<void> {
    const { now, timeout = STORE_TIMEOUT, maxRecordSize = Number.POSITIVE_INFINITY } = context
    const server = this.#server
    const keys = this.#keys
    server.timeout = timeout
    this.#context = context
    this.#quarantine = new Quarantine(context)
    this.#lists = new UserLists(server, keys, now)
    this.#walks = new Walks(server, keys)
    const marks = new WriteMarks(now)
    const versions = new SessionVersions(server, keys, now)
    const writing = { server, keys, lists: this.#lists, marks, versions, now, maxRecordSize }
    this.#writer = new RecordWriter(writing)
    this.#renewals = new Renewals(writing)
    try {
      await server.greet(keys.copied)
      await this.#warnOfOneSlot()
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
    const settling = this.#renewals.settling(handle)
    if (settling !== undefined) await settling
    try {
      return this.#alive(await this.read(handle))
    } catch (error) {
      if (!(error instanceof RecordCorruptError)) throw error
      await this.#quarantine.put(handle, error, () => this.#putAside(handle))
      return null
    }
  }

  async read(handle: string): Promise<RedisRecord | null> {
    if (!isHandle(handle)) return null
    const stored = await this.#text(handle)
    return stored === null || movedTo(stored) !== null ? null : decodeRecord(handle, stored)
  }

  save(record: SessionRecord, changes: SessionChanges | null): Promise<void> {
    return this.#writer.save(record as RedisRecord, changes)
  }

  replace(
    old: SessionRecord,
    fresh: SessionRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean> {
    return this.#renewals.replace(old as RedisRecord, fresh as RedisRecord, keep)
  }

  async destroy(record: SessionRecord): Promise<void> {
    const found = await this.#writer.destroy(record as RedisRecord)
    record.destroyed = true
    if (found) return
    const { successor, notes } = await this.#follow(record.handle)
    if (successor !== null) return this.destroy(successor)
    // While a renewal is taken back there are but notes, from which the session would go on.
    for (const [handle, next] of [...notes].reverse()) {
      const removed = await this.#server.remove(this.#keys.record(handle), encodeMoved(next))
      if (!removed) return this.destroy(record)
    }
  }

  async loadSuccessor(handle: string): Promise<RedisRecord | null> {
    return (await this.#follow(handle)).successor
  }

  /** What a session goes on as, and the notes on the way there: from which handle to which. */
  async #follow(handle: string) {
    const notes = new Map<string, string>()
    let successor: RedisRecord | null = null
    for (let from = handle; successor === null && !notes.has(from); ) {
      const next = movedTo(await this.#server.text(this.#keys.record(from)))
      if (next === null) break
      notes.set(from, next)
      successor = await this.loadByHandle(next)
      from = next
    }
    return { successor, notes }
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
    return this.#server.takeLease(this.#keys.lease(name), owner, milliseconds)
  }

  releaseLease(name: string, owner: string): Promise<void> {
    return this.#server.releaseLease(this.#keys.lease(name), owner)
  }

  handlesOf(principal: string): AsyncIterable<string[]> {
    return this.#lists.handlesOf(principal)
  }

  count(): Promise<number> {
    return this.#walks.count()
  }

  async *records(after?: string, leftOut: LeftOut = () => {}): AsyncGenerator<RedisRecord> {
    if (after !== undefined && !isHandle(after)) throw new InvalidHandleError()
    yield* this.#walks.records(after, (handle) => this.#readAlive(handle, leftOut))
  }

  putRecords(records: readonly SessionRecord[]): Promise<void> {
    return this.#writer.put(records)
  }

  async lastCopyAt(): Promise<number | null> {
    const text = await this.#server.text(this.#keys.copied)
    return text === null ? null : Number(text)
  }

  noteCopy(at: number): Promise<void> {
    return this.#server.setText(this.#keys.copied, String(at))
  }

  deleteExpired(onProgress?: (deleted: number) => void): Promise<number> {
    return this.#walks.deleteExpired(this.#context.now, onProgress)
  }

  async stats(): Promise<StoreStats> {
    return { ...NO_STATS, store: 'redis', quarantined: this.#quarantine.count }
  }

  async close(): Promise<void> {
    this.#renewals.close()
    claims.leave(this.#place)
  }

  async #warnOfOneSlot(): Promise<void> {
    const prefix = `{${this.#place.prefix.replace(/:$/, '')}}:`
    // No key of this store: its user may not be allowed to ask, or that part of a cluster be down.
    if (!(await this.#server.has(`${prefix}handles`).catch(() => false))) return
    this.#context.log.warn(
      { prefix },
      'Redis has sessions in the layout of version 0.1, which do not count any more: bring them over with "sled-session copy", or delete their keys'
    )
  }

  #alive(record: RedisRecord | null): RedisRecord | null {
    return record !== null && record.expiresAt > this.#context.now() ? record : null
  }

  async #text(handle: string): Promise<string | null> {
    try {
      return await this.#server.text(this.#keys.record(handle))
    } catch (error) {
      if (!isRefusedBy(error, 'WRONGTYPE')) throw error
      throw new RecordCorruptError('it is no string')
    }
  }

  /** Another process may have done it already. */
  async #putAside(handle: string): Promise<void> {
    const key = this.#keys.record(handle)
    try {
      await this.#server.rename(key, this.#keys.quarantine(handle), QUARANTINE_TIME)
    } catch (error) {
      if (await this.#server.has(key)) throw error
    }
  }

  /** For walks, which leave what does not decode where it is. */
  #readAlive(handle: string, leftOut: LeftOut): Promise<RedisRecord | null> {
    const walk = { log: this.#context.log, leftOut }
    return orLeftOut(handle, walk, async () => this.#alive(await this.read(handle)))
  }
}

/** For so long, in ms, what does not decode waits for a person. */
const QUARANTINE_TIME = 30 * 86_400_000
