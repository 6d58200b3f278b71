import type { SessionRecord } from '../record/record.js'
import type { StoreStats } from './stats.js'

/** The part of Fastify's logger that stores use. */
export interface StoreLogger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** What a registration gives its store when it opens it. */
export interface StoreContext {
  /** The registration's clock, in ms since 1970. */
  readonly now: () => number
  readonly log: StoreLogger
}

/** Session keys with their new encoded values; `undefined` deletes. */
export type SessionChanges = ReadonlyMap<string, string | undefined>

/**
 * Where sessions are kept. Every method may fail; whatever it throws or rejects with reaches the
 * visitor as a 503, and the store must then hold what it held before.
 */
export interface SessionStore {
  /** Called once, before the first request. Fails the registration if it rejects. */
  open(context: StoreContext): Promise<void>

  /**
   * A blank record of this store's kind for a new session. Nothing is stored, and nobody else
   * can see it, before `save`.
   */
  create(handle: string, createdAt: number, now: number, expiresAt: number): SessionRecord

  /**
   * The live record of the session with this id, or `null` if there is none, if it is past its
   * time, or if its bytes do not decode. A record in memory is returned at once, not as a promise.
   *
   * A store that is the only writer returns the same object to all who hold it at one time: what
   * one changes, all see. Each returned record must be given back with `release`.
   */
  load(id: string): SessionRecord | null | Promise<SessionRecord | null>

  /** As `load`, by the session's handle. */
  loadByHandle(handle: string): SessionRecord | null | Promise<SessionRecord | null>

  /** What is stored at this moment, as a copy that nobody shares; `null` if nothing is. */
  read(handle: string): Promise<SessionRecord | null>

  /** The holder of a loaded or saved record needs it no longer. */
  release(record: SessionRecord): void

  /**
   * Stores a record, new or changed, and resolves when the write is durable. `changes` names what
   * the caller changed, which the record itself already has. Saves of one session never overtake
   * each other, and saving a destroyed record changes nothing and resolves. The first save of a
   * new record counts as a load: it is to be released too.
   */
  save(record: SessionRecord, changes: SessionChanges | null): Promise<void>

  /** Puts `fresh` in the place of `old` in one atomic step: `old` is dead when this resolves. */
  replace(old: SessionRecord, fresh: SessionRecord): Promise<void>

  /** Removes a session for good; resolves when that is durable. */
  destroy(record: SessionRecord): Promise<void>

  /** The handles of a principal's sessions; some may be past their time. Costs what it returns. */
  handlesOf(principal: string): Promise<string[]>

  /** How many sessions are stored. May look at each, but never at their data. */
  count(): Promise<number>

  /**
   * Every stored session that is not past its time, in the order of the bytes of its handle, as
   * copies that nobody shares; with `after`, those behind that handle, so that a walk can go on
   * where it stopped. Whatever was saved before the call is there. A store that has snapshots
   * shows one moment, any other may miss or show what changes during the walk. A record that does
   * not decode is left out and logged.
   *
   * Memory and the event loop are held by no more than a batch at a time.
   */
  records(after?: string): AsyncIterable<SessionRecord>

  /**
   * Stores sessions as they are, times, principal and metadata included, all of them or none, and
   * resolves when that is durable. One that is stored already is replaced, and what requests under
   * way have changed of it is not saved any more. Give it batches: it takes them as one write.
   */
  putRecords(records: readonly SessionRecord[]): Promise<void>

  /**
   * What the store tells about itself, at a bounded cost. A store that has nothing to tell may
   * leave this out.
   */
  stats?(): Promise<StoreStats>

  /** Deletes the sessions that are past their time and resolves to how many they were. */
  deleteExpired(): Promise<number>

  /** Finishes what is under way and gives back all resources. Never called twice. */
  close(): Promise<void>
}
