import { randomBytes } from 'node:crypto'
import {
  InvalidHandleError,
  InvalidOptionError,
  RecordCorruptError,
  storeFailure
} from '../../errors.js'
import { events } from '../../events.js'
import { handleOf, isHandle, shortHandle } from '../../record/handle.js'
import {
  duration,
  LONGEST_TIMER,
  type Option,
  option,
  readOptions,
  refuse,
  text
} from '../../record/option.js'
import type { SessionRecord } from '../../record/record.js'
import { difference } from '../merge.js'
import type { LeftOut, SessionChanges, SessionStore, StoreContext } from '../session-store.js'
import { NO_STATS, type StoreStats } from '../stats.js'
import type { RedisClient } from './client.js'
import { decodeHash, fieldOf, knownOf, messageOf } from './codec.js'
import { handleOfMember, memberOf, RedisKeys } from './keys.js'
import { type Known, RedisRecord } from './redis-record.js'
import {
  COMPARE_AND_SET,
  DESTROY,
  EXPIRE,
  PUT,
  QUARANTINE,
  REPLACE,
  SAVE,
  type Script
} from './scripts.js'
import { RedisServer } from './server.js'

export interface RedisStoreOptions {
  /** A connected client of `redis` (node-redis) or `ioredis`. The application closes it. */
  client: RedisClient
  /**
   * What the names of all keys begin with. Default `{session}:`. Give each application its own,
   * and keep the braces: a cluster puts all keys with the same text in braces into one slot.
   */
  prefix?: string
  /** How long to wait for an answer, in ms, before the request gets a 503. Default 2,000. */
  timeout?: number
}

const OPTIONS = {
  client: option(anyClient, undefined),
  prefix: option(text, '{session}:'),
  timeout: option(duration(LONGEST_TIMER), 2000)
} satisfies Record<keyof RedisStoreOptions, Option<unknown>>

/** Which kind it is, is found when it is used. */
function anyClient(value: unknown, name: string): RedisClient {
  if (typeof value !== 'object' || value === null) {
    refuse(name, 'must be a client of "redis" or "ioredis"')
  }
  return value as RedisClient
}

const BATCH = 32

/**
 * Sessions in Redis (6 or later) or Valkey, for several processes and machines. Each load gives a
 * record of its own. What a request has changed is merged by scripts in the server, key by key; a
 * session that ended meanwhile is never brought back.
 *
 * Redis deletes expired sessions by itself. Session ids never leave the process.
 */
export class RedisStore implements SessionStore {
  /** By prefix: the open stores of this process. */
  static readonly #open = new Map<string, Set<RedisStore>>()
  /** One opens at a time, so that of two that open together one finds the other. */
  static #opening: Promise<void> = Promise.resolve()
  readonly #client: RedisClient
  readonly #prefix: string
  readonly #keys: RedisKeys
  readonly #server: RedisServer
  #context!: StoreContext
  #quarantined = 0

  /** @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` */
  constructor(options: RedisStoreOptions) {
    const { client, prefix, timeout } = readOptions(OPTIONS, options)
    this.#client = client
    this.#prefix = prefix
    this.#keys = new RedisKeys(prefix)
    this.#server = new RedisServer(client, timeout)
  }

  async open(context: StoreContext): Promise<void> {
    this.#context = context
    await guard('reach Redis', () => this.#server.greet(this.#keys.handles))
    const opening = RedisStore.#opening.then(() => this.#claimPrefix())
    RedisStore.#opening = opening.catch(() => {})
    await opening
  }

  /** Two registrations on the same keys would take each other's sessions for their own. */
  async #claimPrefix(): Promise<void> {
    const others = RedisStore.#open.get(this.#prefix) ?? new Set()
    for (const other of others) {
      if (await guard('reach Redis', () => this.#sharesServer(other))) {
        const problem = `"${this.#prefix}" is in use on this server by another store of this process: give each its own`
        throw new InvalidOptionError('prefix', problem)
      }
    }
    RedisStore.#open.set(this.#prefix, others.add(this))
  }

  /** Clients and addresses may differ where the server is one: what one writes, the other finds. */
  async #sharesServer(other: RedisStore): Promise<boolean> {
    if (other.#client === this.#client) return true
    const key = this.#keys.probe(randomBytes(9).toString('base64url'))
    await this.#server.leaveMark(key)
    // One that reaches no server serves nobody: its client may have been closed long ago.
    return other.#server.takeMark(key).catch(() => false)
  }

  create(handle: string, createdAt: number, now: number, expiresAt: number): RedisRecord {
    return new RedisRecord(handle, createdAt, now, expiresAt)
  }

  load(id: string): Promise<RedisRecord | null> {
    return this.loadByHandle(handleOf(id))
  }

  async loadByHandle(handle: string): Promise<RedisRecord | null> {
    try {
      const record = await this.read(handle)
      return record !== null && record.expiresAt > this.#context.now() ? record : null
    } catch (error) {
      if (!(error instanceof RecordCorruptError)) throw error
      await this.#quarantine(handle, error)
      return null
    }
  }

  async read(handle: string): Promise<RedisRecord | null> {
    if (!isHandle(handle)) return null
    const fields = await guard('read a session', () => this.#fields(handle))
    return fields.size === 0 ? null : decodeHash(handle, fields)
  }

  release(): void {}

  save(record: SessionRecord, changes: SessionChanges | null): Promise<void> {
    return this.#inOrder(record as RedisRecord, async (redis) => {
      if (redis.known === null) await this.putRecords([redis])
      else await this.#merge(redis, redis.known, changes)
    })
  }

  async replace(
    old: SessionRecord,
    fresh: SessionRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean> {
    let replaced = false
    await this.#inOrder(old as RedisRecord, async (redis) => {
      replaced = await this.#move(redis, fresh as RedisRecord, keep)
    })
    return replaced
  }

  async destroy(record: SessionRecord): Promise<void> {
    const { known, handle } = record as RedisRecord
    const keys = [this.#keys.record(handle)]
    const knownAt = this.#addPrincipal(keys, known?.principal ?? '')
    const message = { member: memberOf(handle), knownAt }
    const deleted = await guard('destroy a session', () => this.#run(DESTROY, keys, message))
    record.destroyed = true
    if (Number(deleted) > 0) return
    const successor = await this.loadSuccessor(handle)
    if (successor !== null) await this.destroy(successor)
  }

  async loadSuccessor(handle: string): Promise<RedisRecord | null> {
    const key = this.#keys.successor(handle)
    const member = await guard('read a session', () => this.#server.text(key))
    if (member === null) return null
    const next = handleOfMember(member)
    return (await this.loadByHandle(next)) ?? this.loadSuccessor(next)
  }

  async compareAndSet(
    record: SessionRecord,
    key: string,
    expected: string | undefined,
    text: string | undefined
  ): Promise<boolean> {
    let swapped = false
    await this.#inOrder(record as RedisRecord, async (redis) => {
      const keys = [this.#keys.record(redis.handle)]
      const message = { born: redis.known?.born, field: fieldOf(key), expected, text }
      const reply = await guard('save a session', () => this.#run(COMPARE_AND_SET, keys, message))
      if (reply === 'gone') {
        redis.destroyed = true
        return
      }
      swapped = reply === 'ok'
      const stored = swapped ? text : (reply as string[])[0]
      redis.apply(key, stored)
      if (stored === undefined) redis.known?.data.delete(key)
      else redis.known?.data.set(key, stored)
    })
    return swapped
  }

  async *handlesOf(principal: string): AsyncGenerator<string[]> {
    const key = this.#keys.principal(principal)
    // The server gives a member again if it makes room for more during the walk.
    const seen = new Set<string>()
    let cursor: string | null = null
    do {
      const from: string = cursor ?? FIRST_CURSOR
      const found = await guard('list sessions', () => this.#server.membersFrom(key, from))
      cursor = found.cursor
      const fresh = found.members.filter((member) => !seen.has(member))
      for (const member of fresh) seen.add(member)
      if (fresh.length > 0) yield fresh.map(handleOfMember)
    } while (cursor !== FIRST_CURSOR)
  }

  count(): Promise<number> {
    return guard('count sessions', () =>
      this.#server.countOver(this.#keys.expiry, this.#context.now())
    )
  }

  async *records(after?: string, leftOut: LeftOut = () => {}): AsyncGenerator<RedisRecord> {
    if (after !== undefined && !isHandle(after)) throw new InvalidHandleError()
    let last = after === undefined ? null : memberOf(after)
    for (;;) {
      const members = await guard('list sessions', () =>
        this.#server.behind(this.#keys.handles, last, BATCH)
      )
      const found = await Promise.all(
        members.map((member) => this.#readAlive(handleOfMember(member), leftOut))
      )
      for (const record of found) if (record !== null) yield record
      if (members.length < BATCH) return
      last = members.at(-1) ?? null
    }
  }

  async putRecords(records: readonly SessionRecord[]): Promise<void> {
    if (records.length === 0) return
    const keys: string[] = []
    const born = randomBytes(6).toString('base64url')
    const messages = records.map((record) => {
      const at = KEYS_BEFORE + keys.push(this.#keys.record(record.handle))
      const principalAt = this.#addPrincipal(keys, record.principal ?? '')
      const more = { at, principalAt, born, member: memberOf(record.handle) }
      return { ...messageOf(record, record.data), ...more }
    })
    const known = records.map((record) => knownOf(record, born))
    await guard('save sessions', () => this.#run(PUT, keys, { records: messages }))
    for (const [index, record] of records.entries()) {
      if (record instanceof RedisRecord) record.known = known[index] as Known
    }
  }

  async lastCopyAt(): Promise<number | null> {
    const text = await guard('read the time of a copy', () => this.#server.text(this.#keys.copied))
    return text === null ? null : Number(text)
  }

  noteCopy(at: number): Promise<void> {
    return guard('note a copy', () => this.#server.setText(this.#keys.copied, String(at)))
  }

  /** Redis has mostly done it already; what is left of them in the indexes is counted and removed. */
  async deleteExpired(onProgress?: (deleted: number) => void): Promise<number> {
    const now = this.#context.now()
    let deleted = 0
    for (;;) {
      const members = await guard('list sessions', () =>
        this.#server.due(this.#keys.expiry, now, BATCH)
      )
      const keys = members.map((member) => this.#keys.record(handleOfMember(member)))
      if (members.length > 0) {
        deleted += Number(
          await guard('delete expired sessions', () => this.#run(EXPIRE, keys, { members }))
        )
      }
      onProgress?.(deleted)
      if (members.length < BATCH) return deleted
    }
  }

  async stats(): Promise<StoreStats> {
    const sessions = await this.count()
    return { ...NO_STATS, store: 'redis', sessions, quarantined: this.#quarantined }
  }

  async close(): Promise<void> {
    RedisStore.#open.get(this.#prefix)?.delete(this)
  }

  /** Of one record, each write waits for the one before: they are never swapped on the way. */
  #inOrder(record: RedisRecord, write: (record: RedisRecord) => Promise<void>): Promise<void> {
    const writing = record.writing.then(async () => {
      if (record.failure !== null) throw record.failure
      if (!record.destroyed) await write(record)
    })
    record.writing = writing.catch(() => {})
    return writing
  }

  async #merge(record: RedisRecord, known: Known, changes: SessionChanges | null): Promise<void> {
    const { principal } = known
    const keys = [this.#keys.record(record.handle)]
    const knownAt = this.#addPrincipal(keys, principal)
    const principalAt = this.#addPrincipal(keys, record.principal ?? '')
    const message = {
      ...messageOf(record, changes ?? []),
      left:
        principal === (record.principal ?? '') ? undefined : [...record.data.keys()].map(fieldOf)
    }
    const stored = knownOf(record, known.born)
    const member = memberOf(record.handle)
    const reply = await guard('save a session', () =>
      this.#run(SAVE, keys, { ...message, ...knownPart(known), member, knownAt, principalAt })
    )
    if (reply === 'gone') record.destroyed = true
    else if (reply === 'ok') record.known = stored
    else await this.#merge(record, adopt(record, known, reply), changes)
  }

  async #move(
    old: RedisRecord,
    fresh: RedisRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean> {
    const known = old.known as Known
    const keys = [
      this.#keys.record(old.handle),
      this.#keys.record(fresh.handle),
      this.#keys.successor(old.handle)
    ]
    const knownAt = this.#addPrincipal(keys, known.principal)
    const principalAt = this.#addPrincipal(keys, fresh.principal ?? '')
    const born = randomBytes(6).toString('base64url')
    const reply = await guard('renew a session id', () =>
      this.#run(REPLACE, keys, {
        ...messageOf(fresh, keep === false ? fresh.data : difference(known.data, fresh.data)),
        ...knownPart(known),
        member: memberOf(old.handle),
        fresh: { member: memberOf(fresh.handle), born },
        keep: keep === false ? undefined : keep === true ? [] : keep.map(fieldOf),
        keepAll: keep === true,
        knownAt,
        principalAt
      })
    )
    if (reply === 'ok') {
      fresh.known = knownOf(fresh, born)
      old.destroyed = true
      return true
    }
    if (reply !== 'gone') {
      old.known = adopt(fresh, known, reply)
      return this.#move(old, fresh, keep)
    }
    old.destroyed = true
    fresh.destroyed = true
    return false
  }

  #run(script: Script, keys: string[], message: object): Promise<unknown> {
    const { expiry, handles } = this.#keys
    const now = String(this.#context.now())
    return this.#server.run(script, [expiry, handles, ...keys], { ...message, now })
  }

  /** Adds the key of a principal's list and returns its place in KEYS, if there is a principal. */
  #addPrincipal(keys: string[], principal: string): number | undefined {
    if (principal === '') return undefined
    return KEYS_BEFORE + keys.push(this.#keys.principal(principal))
  }

  async #fields(handle: string): Promise<ReadonlyMap<string, string>> {
    try {
      return await this.#server.hash(this.#keys.record(handle))
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('WRONGTYPE')) throw error
      throw new RecordCorruptError('it is no hash')
    }
  }

  /** As it is stored and not past its time; what does not decode is left where it is. */
  async #readAlive(handle: string, leftOut: LeftOut): Promise<RedisRecord | null> {
    try {
      const record = await this.read(handle)
      return record !== null && record.expiresAt > this.#context.now() ? record : null
    } catch (error) {
      if (!(error instanceof RecordCorruptError)) throw error
      this.#context.log.error(
        { session: shortHandle(handle), err: error },
        'a corrupt session record was left out'
      )
      leftOut(shortHandle(handle))
      return null
    }
  }

  /** Keeps what was found for a person to look at, out of the way of every visitor. */
  async #quarantine(handle: string, reason: Error): Promise<void> {
    this.#quarantined++
    this.#context.log.error(
      { session: shortHandle(handle), err: reason },
      'a corrupt session record was put in quarantine; its visitor gets a fresh session'
    )
    const keys = [this.#keys.record(handle), this.#keys.quarantine(handle)]
    const message = { member: memberOf(handle) }
    await guard('read a session', () => this.#run(QUARANTINE, keys, message))
    events.quarantined.publish({ session: shortHandle(handle) })
  }
}

/** A walk begins and ends with it. */
const FIRST_CURSOR = '0'
/** The two indexes come first in KEYS. */
const KEYS_BEFORE = 2

function knownPart({ born, created, expiry, principal, metadata }: Known): object {
  return { born, known: { created, expiry, principal, metadata } }
}

/** Another process has made the session somebody else's: this record follows. */
function adopt(record: RedisRecord, known: Known, reply: unknown): Known {
  const [principal = ''] = reply as string[]
  record.principal = principal || null
  return { ...known, principal }
}

async function guard<T>(operation: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof RecordCorruptError ? error : storeFailure(operation, error)
  }
}
