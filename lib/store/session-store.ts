import type { NewRecord, SessionRecord } from '../record/record.js'
import type { BackupResult, LongOperation } from './long-operation.js'
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
  /**
   * How long a caller waits for the store, in ms; default 5,000. A store whose server may fall
   * silent gives up by then itself, so that nothing is left waiting for an answer.
   */
  readonly timeout?: number
  /**
   * How large the data of a session may become, in bytes; default no limit. Each request keeps to
   * it by what it knows; a store that merges what several have changed refuses what is too much in
   * all, with `SLED_SESSION_TOO_LARGE`.
   */
  readonly maxRecordSize?: number
  /** To be told the handle of each record that did not decode and was put aside. */
  readonly onQuarantine?: (handle: string) => void
}

/**
 * Told of a record that a walk leaves out as it cannot be read: its short handle, or `null` for a
 * place that may have held records.
 */
export type LeftOut = (session: string | null) => void

/** Session keys with their new encoded values; `undefined` deletes. */
export type SessionChanges = ReadonlyMap<string, string | undefined>

/**
 * Where sessions are kept. `fastify-sled-session/conformance` tests each line of this contract.
 *
 * Every method may fail; whatever it throws or rejects with reaches the visitor as a 503, and the
 * store must then hold what it held before, or be unreachable and say so as soon as it can: a
 * store never resolves for what it has not done.
 *
 * There are two kinds of stores, told apart by `writers`. One that is the only writer has one live
 * record per session, which all requests share. One that several processes write to gives each load
 * a record of its own.
 *
 * Nobody gives a record back. A single writer that does not keep all records in memory keeps a
 * `WeakRef` to each that it has let go of, and so has the same object for as long as anybody else
 * has it: a session that outlives its request, or a save that nobody awaits, needs no more.
 *
 * ```ts
 * const session = { handle: handleOf(id), createdAt: now, lastSeenAt: now, expiresAt: now + HOUR }
 * const record = store.create(session)
 * record.apply('counter', '1')
 * await store.save(record, new Map([['counter', '1']]))
 * await store.load(id) // with one writer, the same object
 * ```
 */
export interface SessionStore {
  /** Who writes what this store holds: this process alone, or several. */
  readonly writers: 'one' | 'several'

  /**
   * Whether what is past its time goes by itself, so that nobody need call `deleteExpired` now and
   * then. Default false.
   */
  readonly expiresByItself?: boolean

  /** Called once, before the first request. Fails the registration if it rejects. */
  open(context: StoreContext): Promise<void>

  /**
   * A blank record of this store's kind for a new session. Nothing is stored, and nobody else
   * can see it, before `save`.
   */
  create(start: NewRecord): SessionRecord

  /**
   * The record of the session with this id, or `null` if there is none, if it is past its time by
   * the clock of the {@link StoreContext}, or if what is stored does not decode: that is put aside
   * for a person to look at, and logged. A record in memory is returned at once, not as a promise,
   * unless its session is being ended: whether it is gone shows when that is durable.
   *
   * A store that is the only writer returns the same object to all who have it at one time: what
   * one changes, all see. A record with a `failure` is never returned: it no longer stands for
   * what is stored, which is then read anew.
   *
   * ```ts
   * const record = await store.load(id)
   * ```
   */
  load(id: string): SessionRecord | null | Promise<SessionRecord | null>

  /**
   * As `load`, by the session's handle. A string that has not the exact form of one names nothing.
   *
   * ```ts
   * for (const handle of handles) records.push(await store.loadByHandle(handle))
   * ```
   */
  loadByHandle(handle: string): SessionRecord | null | Promise<SessionRecord | null>

  /**
   * What is stored at this moment, as a copy that nobody shares; `null` if nothing is. Unsaved
   * changes of the live record are not in it.
   *
   * ```ts
   * const stored = (await store.read(record.handle))?.data.get('counter')
   * ```
   *
   * @throws {RecordCorruptError} if what is stored does not decode
   */
  read(handle: string): Promise<SessionRecord | null>

  /**
   * Stores a record, new or changed, and resolves when the write is durable. `changes` names the
   * keys that the caller changed, which the record itself already has; `null` if none. Saves of
   * one session never overtake each other. A record with a `failure` is refused with it.
   *
   * Saving a destroyed record changes nothing, and resolves when its end is durable; it rejects if
   * that fails, for then the session lives on without the change. If several processes write, so does
   * saving one whose session has ended elsewhere, and marks it `destroyed`: nothing brings a
   * session back. They merge: only the changed keys are written, and expiry, principal and
   * metadata only if they differ from what the record had when it was loaded or last saved. A
   * deadline never moves back unless the expiry changed.
   *
   * ```ts
   * record.apply('counter', '2')
   * await store.save(record, new Map([['counter', '2']]))
   * ```
   */
  save(record: SessionRecord, changes: SessionChanges | null): Promise<void>

  /**
   * Stores when a session was last used, and its deadline: as `save`, but of a record that has
   * changed in nothing else. For a single writer that does not write at once. By then a request may
   * have begun to change the live record, half of which must not be stored, so `isUnchanged` is
   * asked right before the record is read; if it says no, nothing is stored, and that is no failure.
   *
   * ```ts
   * await store.touch?.(record, () => true)
   * ```
   */
  touch?(record: SessionRecord, isUnchanged: () => boolean): Promise<void>

  /**
   * Stores for several writers must have it, and only they do. Stores one key's encoded value
   * (`undefined` deletes) if the one that is stored still is `expected` (`undefined` for none), in
   * one atomic step, and resolves to whether it was. The record then has what is stored now, be it
   * ours or another's. If the session has ended, false, and the record is `destroyed`.
   *
   * `session.update` is built on it. Where there is one writer, the live record is what everybody
   * builds on and updates queue in the process, so there is nothing to compare with.
   *
   * ```ts
   * const counter = record.data.get('counter')
   * const isSet = await store.compareAndSet?.(record, 'counter', counter, '2')
   * ```
   */
  compareAndSet?(
    record: SessionRecord,
    key: string,
    expected: string | undefined,
    text: string | undefined
  ): Promise<boolean>

  /**
   * Puts `fresh`, a blank record that has been filled, in the place of `old` in one atomic step:
   * when this resolves to true, `old` is dead and `destroyed`, and `fresh` is stored in its stead. False if several processes write and `old` has ended elsewhere: nothing is stored
   * then, and both are `destroyed`.
   *
   * ```ts
   * fresh.inherit(old, null)
   * if (await store.replace(old, fresh, true)) setCookie(freshId)
   * ```
   *
   * @param keep what `fresh` has of `old`: all data, none, or these keys. Several writers take that
   *   from what is stored, so that no change of another process is lost
   */
  replace(
    old: SessionRecord,
    fresh: SessionRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean>

  /**
   * Removes a session for good; resolves when that is durable, and the record is `destroyed`. If
   * several processes write, one that was renewed elsewhere ends under its new handle.
   *
   * ```ts
   * await store.destroy(record)
   * ```
   */
  destroy(record: SessionRecord): Promise<void>

  /**
   * Removes a session whose record cannot be read, so that `load` rejects with
   * `SLED_SESSION_STORE_DAMAGED`; resolves when that is durable. For stores that can have such.
   *
   * ```ts
   * await store.discard?.(handle, 'ann')
   * ```
   *
   * @param principal whose session it was listed as, if that is known
   */
  discard?(handle: string, principal: string | null): Promise<void>

  /**
   * Several writers only: the record that the session with this handle, which has ended, goes on
   * with since another process renewed it; `null` if there is none, or if that is more than an hour
   * ago.
   *
   * ```ts
   * const next = await store.loadSuccessor?.(record.handle)
   * ```
   */
  loadSuccessor?(handle: string): Promise<SessionRecord | null>

  /**
   * Several writers only: takes or renews, for so many ms, what one owner of all processes may have
   * at a time. Resolves to false if another has it. It ends by itself, so that a process that was
   * killed has nothing for long. Exclusive routes are built on it; without it they are exclusive
   * in each process.
   *
   * ```ts
   * if (await store.takeLease?.('nightly report', owner, 5000)) await report()
   * ```
   */
  takeLease?(name: string, owner: string, milliseconds: number): Promise<boolean>

  /**
   * Gives a lease back, if this owner has it.
   *
   * ```ts
   * await store.releaseLease?.('nightly report', owner)
   * ```
   */
  releaseLease?(name: string, owner: string): Promise<void>

  /**
   * The handles of a principal's sessions, each once, in batches of some hundred at most; some may
   * be past their time. What is there during the whole walk is in it, though sessions end
   * meanwhile; what begins meanwhile may be. Costs what it gives.
   *
   * ```ts
   * for await (const handles of store.handlesOf('ann')) listed.push(...handles)
   * ```
   */
  handlesOf(principal: string): AsyncIterable<string[]>

  /**
   * How many sessions are stored; whether those that are past their time and not deleted yet count
   * is up to the store. May look at each, but never at their data.
   *
   * ```ts
   * gauge.set(await store.count())
   * ```
   */
  count(): Promise<number>

  /**
   * Every stored session that is not past its time, in the order of the bytes of its handle, as
   * copies that nobody shares; with `after`, those behind that handle, so that a walk can go on
   * where it stopped; an `after` that is no handle is refused. Whatever was saved before the call is
   * there. A store that has snapshots shows one moment, any other may miss or show what changes
   * during the walk. A record that cannot be read or does not decode is left out, logged, and told
   * to `leftOut`.
   *
   * Memory and the event loop are held by no more than a batch at a time.
   *
   * ```ts
   * for await (const record of store.records()) seen.set(record.handle, record.lastSeenAt)
   * ```
   */
  records(after?: string, leftOut?: LeftOut): AsyncIterable<SessionRecord>

  /**
   * Stores sessions as they are, times, principal and metadata included, all of them or none, and
   * resolves when that is durable. One that is stored already is replaced, and what requests under
   * way have changed of it is not saved any more. Give it batches: it takes them as one write. If it
   * rejects, a store that is spread over several servers may have stored some of them.
   *
   * ```ts
   * await store.putRecords(batch)
   * ```
   */
  putRecords(records: readonly SessionRecord[]): Promise<void>

  /**
   * When a copy from another store last made this one the same, in ms since 1970; `null` if none
   * has. What was seen here later has been in use here. With `noteCopy`, for stores that keep
   * sessions; to one that has neither, every session of its own is newer than a copy.
   */
  lastCopyAt?(): Promise<number | null>

  /** Notes for `lastCopyAt` that this store is now a copy of another; resolves when it is durable. */
  noteCopy?(at: number): Promise<void>

  /**
   * What the store tells about itself, at a bounded cost. A store that has nothing to tell may
   * leave this out.
   *
   * ```ts
   * const diskBytes = (await store.stats?.())?.diskBytes
   * ```
   */
  stats?(): Promise<StoreStats>

  /**
   * Backs up what is stored at this moment to a folder; see {@link SessionManager.backup}. Only
   * for stores that have files of their own: others have the means of their servers.
   *
   * ```ts
   * await store.backup?.('/backups/sessions', { signal: AbortSignal.timeout(60_000) })
   * ```
   */
  backup?(folder: string, options?: LongOperation): Promise<BackupResult>

  /**
   * Deletes the sessions that are past their time and resolves to how many they were; each is
   * counted once.
   *
   * ```ts
   * const deleted = await store.deleteExpired()
   * ```
   *
   * @param onProgress told now and then how many it is so far; does not throw
   */
  deleteExpired(onProgress?: (deleted: number) => void): Promise<number>

  /** Finishes what is under way and gives back all resources. Never called twice. */
  close(): Promise<void>
}
