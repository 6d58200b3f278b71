import type { Database } from './engine/database.js'
import type { RecentRecords } from './recent-records.js'
import { StoredSession } from './stored-session.js'

/** Of the trees that one session is in; those that change with it are written anew. */
const PAGES_BYTES = 32 * 1024

/**
 * Makes a change of what is stored, in memory. Called again if another process was faster, with what
 * is stored then; so what is to be done beside that is returned, and done when the change is durable.
 */
export type Apply = (session: (handle: string) => StoredSession) => (() => void) | undefined

/** Something that is to be done to stored sessions in one atomic step. */
export interface Change {
  /** Of the sessions that it reads and writes. */
  readonly handles: readonly string[]
  readonly apply: Apply
  /** Called when it is durable, or with the reason why nothing of it was written. */
  settled(error: Error | null): void
  /** What was last to be done then. */
  written: (() => void) | undefined
  /** How often LMDB has refused to commit it. */
  refusals: number
}

/** Changes that have sessions in common, and so are written together or not at all. */
export class Unit {
  readonly changes: Change[] = []
  changed: readonly StoredSession[] = []
  /** It was read as it was written, and nobody who opens the database can take it back. */
  committed = false
  /** Its changes were taken back, and are on their way again in another one. */
  abandoned = false
  #settled = false
  readonly #sessions = new Map<string, StoredSession>()

  get handles(): Iterable<string> {
    return this.#sessions.keys()
  }

  /** Reads what is stored and makes the changes. One that throws is settled, and the others stay. */
  plan(database: Database, recent: RecentRecords, changes: readonly Change[]): void {
    const session = (handle: string): StoredSession => {
      let found = this.#sessions.get(handle)
      if (found === undefined) {
        found = new StoredSession(database, recent, handle)
        this.#sessions.set(handle, found)
      }
      return found
    }
    for (const change of changes) {
      try {
        for (const handle of change.handles) session(handle)
        change.written = change.apply(session)
        this.changes.push(change)
      } catch (error) {
        change.settled(error as Error)
      }
    }
    this.changed = [...this.#sessions.values()].filter((session) => session.changed)
  }

  /** How much of the disk it may take. */
  get space(): number {
    const most = ({ record }: StoredSession): number => PAGES_BYTES + 2 * (record?.size ?? 0)
    return this.changed.reduce((sum, session) => sum + most(session), 0)
  }

  /**
   * Resolves when all is flushed, to whether it was written: false if another process has changed
   * one of the sessions since they were read.
   */
  write(database: Database): Promise<boolean> {
    const changed = this.changed
    const [only] = changed
    if (only !== undefined && changed.length === 1) {
      return database.ifVersion(database.sessions, only.key, only.version, () => {
        only.write(database)
      })
    }
    const conditions: Promise<boolean>[] = []
    // Nothing may follow an inner condition in an outer one: where there must be no entry, the
    // binding forgets that the outer one has failed.
    const writeFrom = (at: number): void => {
      const session = changed[at]
      if (session === undefined) {
        for (const each of changed) each.write(database)
      } else {
        const { key, version } = session
        const write = (): void => writeFrom(at + 1)
        conditions.push(database.ifVersion(database.sessions, key, version, write))
      }
    }
    writeFrom(0)
    return Promise.all(conditions).then((held) => held.every(Boolean))
  }

  /** Whether the database holds all that was written. False may also mean: and was changed again. */
  isStored(database: Database): boolean {
    return this.changed.every((session) => session.isStored(database))
  }

  /** Whether all of it was taken back, as it was written, when another process opened the database. */
  isLost(database: Database): boolean {
    return this.changed.some((session) => session.isLost(database))
  }

  /** Only the first time counts, which is what it returns: what was acknowledged is flushed later. */
  settle(error: Error | null): boolean {
    if (this.#settled) return false
    this.#settled = true
    for (const change of this.changes) change.settled(error)
    return true
  }
}

/** Sorts changes, in their order, by the sessions that they have in common. */
export function groupBySession(changes: readonly Change[]): Change[][] {
  const groups = new Map<string, Change[]>()
  for (const change of changes) {
    const group: Change[] = []
    for (const handle of change.handles) {
      const other = groups.get(handle)
      if (other === undefined || other === group) continue
      group.push(...other)
      for (const { handles } of other) for (const each of handles) groups.set(each, group)
    }
    group.push(change)
    for (const handle of change.handles) groups.set(handle, group)
  }
  return [...new Set(groups.values())]
}
