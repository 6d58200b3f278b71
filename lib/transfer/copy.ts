import { RecordCorruptError, StoreDamagedError } from '../errors.js'
import { clock, flag, type Option, option, readOptions } from '../record/option.js'
import type { SessionRecord } from '../record/record.js'
import { GuardedStore } from '../store/guarded-store.js'
import { LONG_OPERATION, type LongOperation } from '../store/long-operation.js'
import type { SessionStore } from '../store/session-store.js'
import type { Pair } from '../store/side-by-side.js'
import { sessionStore } from '../store/store-options.js'
import { RecordWriter } from './batches.js'
import { estimate } from './export.js'
import { pairs, same } from './pairs.js'

/** Options of {@link copySessions}. */
export interface CopyOptions extends LongOperation {
  /**
   * Deletes from the target what the source no longer has, so that a logout between two copies
   * holds. Default false: it stays.
   */
  mirror?: boolean
  /**
   * Gives up what is newer in the target: it is replaced and, with `mirror`, deleted like the rest.
   * Default false: it stays as it is, and is counted.
   */
  overwriteNewer?: boolean
  /** The clock, in ms since 1970. Default the system's. */
  now?: () => number
}

const OPTIONS = {
  ...LONG_OPERATION,
  mirror: option(flag, false),
  overwriteNewer: option(flag, false),
  now: option(clock, Date.now)
} satisfies Record<keyof CopyOptions, Option<unknown>>

/** What a copy did. The two stores hold the same if `others`, `different` and `unreadable` are 0. */
export interface CopyResult {
  /** Sessions of the source. */
  readonly sessions: number
  /** Those of them that the target did not have, or had otherwise. */
  readonly copied: number
  /** Sessions that the source does not have and that were deleted from the target. */
  readonly deleted: number
  /** Sessions that the target has and the source does not: they stay. */
  readonly others: number
  /** Sessions that are not in the target as they are in the source, found by a second look. */
  readonly different: number
  /**
   * How many of `others` and `different` are newer in the target: seen there since the last copy
   * to it or, if there was none, not known to come from one.
   */
  readonly newer: number
  /** Sessions of the source that cannot be read, and so were not copied. */
  readonly unreadable: number
}

/**
 * Copies all sessions of one store to another and then compares them one by one. Run again, it
 * copies only what differs: so it goes on where it stopped, and catches up with a source that
 * was in use. What is newer in the target is left alone.
 *
 * ```ts
 * const { copied, different } = await copySessions(old, store, { mirror: true })
 * ```
 *
 * @throws what the stores throw, and the reason of an aborted `signal`
 */
export async function copySessions(
  from: SessionStore,
  to: SessionStore,
  options: CopyOptions = {}
): Promise<CopyResult> {
  return copy(
    GuardedStore.of(sessionStore(from, 'from')),
    GuardedStore.of(sessionStore(to, 'to')),
    options
  )
}

async function copy(
  from: SessionStore,
  to: SessionStore,
  options: CopyOptions
): Promise<CopyResult> {
  const { onProgress, signal, now, mirror, overwriteNewer } = readOptions(OPTIONS, options)
  const startedAt = now()
  const total = await estimate(from)
  const age = new Age(await lastCopyOf(from, to))
  let done = 0
  const check = (): void => {
    signal?.throwIfAborted()
    onProgress?.({ done, total })
  }
  const writer = new RecordWriter(to, check)
  let targetsOwn = 0
  let lastSeenAt = startedAt
  let unreadable = 0
  const leftOut = (): void => {
    unreadable++
  }
  for await (const [wanted, present] of pairs(from, to, leftOut)) {
    const newer = present !== null && age.isNewer(present, wanted)
    if (newer) targetsOwn++
    if (wanted === null) continue
    done++
    lastSeenAt = Math.max(lastSeenAt, wanted.lastSeenAt)
    const wrong = present === null || !same(wanted, present)
    if (wrong && (!newer || overwriteNewer)) await writer.add(wanted)
    if (done % PROGRESS_EVERY === 0) check()
  }
  await writer.flush()

  if (targetsOwn === 0 || (mirror && overwriteNewer)) {
    age.lastCopy = lastSeenAt
    await to.noteCopy?.(lastSeenAt)
  }
  const ended = new EndedSessions(from, to, now)
  const left = { others: 0, different: 0, newer: 0 }
  for await (const pair of pairs(from, to)) {
    signal?.throwIfAborted()
    if (!isDifferent(pair, now())) continue
    const [wanted, present] = pair
    const newer = present !== null && age.isNewer(present, wanted)
    if (wanted === null && mirror && (!newer || overwriteNewer)) {
      if (await ended.delete(present)) continue
    }
    if (newer) left.newer++
    if (wanted === null) left.others++
    else left.different++
  }
  await ended.flush()
  return { sessions: done, copied: writer.written, deleted: ended.deleted, unreadable, ...left }
}

const PROGRESS_EVERY = 1000

/**
 * When one of the two was last made the same as the other, in ms since 1970: on the way back, it is
 * the source that was filled by a copy.
 */
async function lastCopyOf(from: SessionStore, to: SessionStore): Promise<number> {
  const times = await Promise.all([from.lastCopyAt?.(), to.lastCopyAt?.()])
  return Math.max(...times.map((time) => time ?? Number.NEGATIVE_INFINITY))
}

/** Tells sessions that the target has from a copy from those that came or were used there since. */
class Age {
  lastCopy: number

  constructor(lastCopy: number) {
    this.lastCopy = lastCopy
  }

  isNewer(present: SessionRecord, wanted: SessionRecord | null): boolean {
    if (present.lastSeenAt <= this.lastCopy) return false
    return wanted === null || present.lastSeenAt > wanted.lastSeenAt
  }
}

function isDifferent([wanted, present]: Pair<SessionRecord>, now: number): boolean {
  // One that has just run out may be missing in what was read last.
  if ((wanted ?? present).expiresAt <= now) return false
  return wanted === null || present === null || !same(wanted, present)
}

/** Deletes from the target what has ended in the source, a batch at a time. */
class EndedSessions {
  readonly #from: SessionStore
  readonly #to: SessionStore
  readonly #now: () => number
  #batch: Promise<void>[] = []
  deleted = 0

  constructor(from: SessionStore, to: SessionStore, now: () => number) {
    this.#from = from
    this.#to = to
    this.#now = now
  }

  /** Resolves to whether it has ended: a walk over a store in use may miss what is there. */
  async delete({ handle }: SessionRecord): Promise<boolean> {
    if (!(await this.#hasEnded(handle))) return false
    const deleting = this.#delete(handle)
    // It is awaited with its batch, which another may fail first.
    deleting.catch(() => {})
    this.#batch.push(deleting)
    if (this.#batch.length === BATCH) await this.flush()
    return true
  }

  async flush(): Promise<void> {
    const batch = this.#batch
    this.#batch = []
    await Promise.all(batch)
  }

  /** What is damaged in the source has not ended: the target may have the last good copy of it. */
  async #hasEnded(handle: string): Promise<boolean> {
    try {
      const record = await this.#from.read(handle)
      return record === null || record.expiresAt <= this.#now()
    } catch (error) {
      if (error instanceof RecordCorruptError || error instanceof StoreDamagedError) return false
      throw error
    }
  }

  async #delete(handle: string): Promise<void> {
    const record = await this.#to.loadByHandle(handle)
    if (record === null) return
    await this.#to.destroy(record)
    this.deleted++
  }
}

const BATCH = 128
