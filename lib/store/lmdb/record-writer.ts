import type { SessionRecord } from '../../record/record.js'
import { IndexedRecord } from '../format/indexed-record.js'
import { inOrder, renewInOrder } from '../in-order.js'
import {
  checkGrowth,
  knownOf,
  mergeChanges,
  mergeInto,
  NO_CHANGES,
  requireRoom,
  type SharedKnown,
  SUCCESSOR_TIME
} from '../merge.js'
import type { SessionChanges, StoreContext } from '../session-store.js'
import type { GroupCommit } from './group-commit.js'
import { LmdbRecord } from './lmdb-record.js'
import type { StoredSession } from './stored-session.js'

/** Merges what requests have changed of their records into what is stored by then. */
export class RecordWriter {
  readonly #commit: GroupCommit
  readonly #now: () => number
  readonly #maxRecordSize: number

  constructor(commit: GroupCommit, { now, maxRecordSize = Infinity }: StoreContext) {
    this.#commit = commit
    this.#now = now
    this.#maxRecordSize = maxRecordSize
  }

  save(record: LmdbRecord, changes: SessionChanges | null): Promise<void> {
    return this.#change(record, (session) => {
      if (record.known === null) return putFirst(record, session)
      const stored = this.#alive(record, session)
      if (stored === null) return () => markDestroyed(record)
      requireRoom(stored, changes ?? NO_CHANGES, this.#maxRecordSize)
      session.touch()
      return merge(stored, record, record.known, changes ?? NO_CHANGES)
    })
  }

  async compareAndSet(
    record: LmdbRecord,
    key: string,
    expected: string | undefined,
    text: string | undefined
  ): Promise<boolean> {
    let swapped = false
    await this.#change(record, (session) => {
      const stored = this.#alive(record, session)
      if (stored === null) return () => markDestroyed(record)
      const { known } = record
      const found = stored.data.get(key)
      const isExpected = found === expected
      if (isExpected) {
        requireRoom(stored, new Map([[key, text]]), this.#maxRecordSize)
        stored.apply(key, text)
        session.touch()
      }
      return () => {
        swapped = isExpected
        record.apply(key, isExpected ? text : found)
        if (known !== null) record.learn(known, [[key, isExpected ? text : found]])
      }
    })
    return swapped
  }

  replace(from: LmdbRecord, to: LmdbRecord, keep: boolean | readonly string[]): Promise<boolean> {
    return renewInOrder(from, to, async () => {
      let replaced = false
      await this.#commit.add([from.handle, to.handle], (session) => {
        const old = session(from.handle)
        const fresh = session(to.handle)
        const stored = this.#alive(from, old)
        if (stored === null || from.known === null) return undefined
        const target = new IndexedRecord(to)
        mergeInto(target, stored, to, from.known, keep)
        checkGrowth(target.size, Math.max(to.size, stored.size), to.data, this.#maxRecordSize)
        old.moveTo(to.handle, this.#now() + SUCCESSOR_TIME)
        fresh.put(target)
        const { birth } = fresh
        const known = knownOf(to)
        const { principal } = target
        return () => {
          replaced = true
          // What was changed meanwhile is not stored yet.
          if (to.principal === known.principal) to.principal = principal
          to.known = { ...known, principal }
          to.birth = birth
        }
      })
      return replaced
    })
  }

  /** Resolves to whether the session was there. */
  async remove(record: LmdbRecord): Promise<boolean> {
    let found = false
    await this.#change(record, (session) => {
      found = session.version !== null
      session.remove()
      return () => markDestroyed(record)
    })
    return found
  }

  /** Stores records whole, in the place of what is there. */
  async put(records: readonly SessionRecord[]): Promise<void> {
    const handles = records.map(({ handle }) => handle)
    await this.#commit.add(handles, (session) => {
      const put = records.map((record) => putFirst(record, session(record.handle)))
      return () => {
        for (const learn of put) learn()
      }
    })
  }

  /** Any change of what does not decode keeps it for a person to look at, and takes it out of the way. */
  quarantine(handle: string): Promise<void> {
    return this.#commit.add([handle], () => undefined)
  }

  /** What is stored of the session that a record is of, or `null` if that has ended. */
  #alive(record: LmdbRecord, session: StoredSession): IndexedRecord | null {
    const stored = session.record
    if (stored === null || session.birth !== record.birth) return null
    return stored.expiresAt > this.#now() ? stored : null
  }

  #change(record: LmdbRecord, apply: (session: StoredSession) => () => void): Promise<void> {
    const { handle } = record
    return inOrder(record, () => this.#commit.add([handle], (session) => apply(session(handle))))
  }
}

function markDestroyed(record: SessionRecord): void {
  record.destroyed = true
}

function putFirst(record: SessionRecord, session: StoredSession): () => void {
  const copy = new IndexedRecord(record)
  copy.inherit(record, null)
  session.put(copy)
  const known = knownOf(copy)
  const { birth } = session
  return () => {
    if (!(record instanceof LmdbRecord)) return
    record.known = known
    record.birth = birth
  }
}

function merge(
  stored: IndexedRecord,
  record: LmdbRecord,
  known: SharedKnown,
  changes: SessionChanges
): () => void {
  mergeChanges(stored, record, known, changes)
  const { createdAt, expiry, metadata, principal: own } = record
  const { principal } = stored
  return () => {
    // Another process may have made it somebody else's, which this record has not changed.
    if (record.principal === own) record.principal = principal
    record.learn({ createdAt, expiry, metadata, principal, data: known.data }, changes)
  }
}
