import { StoreUnavailableError } from '../../errors.js'
import { setImmediate } from '../../timers.js'
import type { WriteStats } from '../stats.js'
import { type Apply, type Change, groupBySession, Unit } from './change.js'
import { watchCommits } from './engine/commit-hint.js'
import type { Database } from './engine/database.js'
import type { RecentRecords } from './recent-records.js'
import type { StoredSession } from './stored-session.js'

/** A refused commit is tried again: LMDB refuses one of a process that lives when another is killed. */
const MOST_REFUSALS = 3
/**
 * Each keeps a thread of the process's few until it is flushed. While one is being flushed another
 * can be committed; what comes meanwhile gathers.
 */
const MOST_UNFLUSHED = 2

/**
 * Gathers all changes of one turn of the event loop into one transaction. LMDB's own thread
 * commits it, and waits there for other processes; the event loop never does. So what is written
 * depends on what was read before, and whoever finds that another process was faster
 * reads and decides anew.
 */
export class GroupCommit {
  readonly #database: Database
  readonly #recent: RecentRecords
  readonly #early: boolean
  #gathering: Change[] = []
  /** What is written and may not be committed yet. */
  #committing: Unit[] = []
  /** Sessions of which it is not known how a change ended: later ones wait. */
  readonly #held = new Set<string>()
  #unflushed = 0
  #scheduled = false
  #broken: Error | null = null
  #idle: (() => void)[] = []
  groups = 0
  writes = 0
  largest = 0

  readonly #damaged: (session: StoredSession) => void

  /**
   * @param early acknowledge what everybody can read, and do not wait until it is flushed
   * @param damaged hears of each session that did not decode and was put aside
   */
  constructor(
    database: Database,
    recent: RecentRecords,
    early: boolean,
    damaged: (session: StoredSession) => void
  ) {
    this.#database = database
    this.#recent = recent
    this.#early = early
    this.#damaged = damaged
    watchCommits(
      database.root,
      () => this.#lookAtCommitted(),
      () => this.#giveUp()
    )
  }

  stats(): WriteStats {
    return { sessions: this.writes, groups: this.groups, largestGroup: this.largest }
  }

  /** Resolves when the change is durable. */
  add(handles: readonly string[], apply: Apply): Promise<void> {
    if (this.#broken !== null) return Promise.reject(this.#broken)
    return new Promise((resolve, reject) => {
      const change: Change = {
        handles,
        apply,
        written: undefined,
        settled(error) {
          if (error !== null) return reject(error)
          change.written?.()
          resolve()
        },
        refusals: 0
      }
      this.#gathering.push(change)
      this.#schedule()
    })
  }

  /** Resolves when nothing is waiting or under way any more. */
  async drain(): Promise<void> {
    while (this.#broken === null && (this.#gathering.length > 0 || this.#unflushed > 0)) {
      await new Promise<void>((resolve) => this.#idle.push(resolve))
    }
  }

  #schedule(): void {
    if (this.#scheduled || this.#broken !== null) return
    if (this.#committing.length > 0 || this.#unflushed >= MOST_UNFLUSHED) return
    this.#scheduled = true
    // After the poll phase: by then all sockets that were readable in this turn have been heard.
    setImmediate(() => this.#flush())
  }

  #flush(): void {
    if (this.#database.isBeingOpened) {
      this.#database.untilOpened().then(() => this.#flush())
      return
    }
    this.#scheduled = false
    const changes = this.#takeReady()
    try {
      this.#database.refresh()
    } catch (error) {
      for (const change of changes) change.settled(error as Error)
      return
    }
    const units: Unit[] = []
    for (const group of groupBySession(changes)) {
      const unit = new Unit()
      unit.plan(this.#database, this.#recent, group)
      if (unit.changed.length > 0) units.push(unit)
      else unit.settle(null)
    }
    if (units.length > 0 && this.#hasSpace(units)) this.#write(units)
    else this.#next()
  }

  /** Or they are refused. */
  #hasSpace(units: Unit[]): boolean {
    try {
      this.#database.requireSpace(units.reduce((sum, { space }) => sum + space, 0))
      return true
    } catch (error) {
      for (const unit of units) this.#settle(unit, error as Error)
      return false
    }
  }

  /** Those that wait for none whose end is unknown. */
  #takeReady(): Change[] {
    const all = this.#gathering
    this.#gathering = []
    if (this.#held.size === 0) return all
    const held = new Set(this.#held)
    return all.filter((change) => {
      if (!change.handles.some((handle) => held.has(handle))) return true
      // What comes behind it and has a session in common must not overtake it either.
      for (const handle of change.handles) held.add(handle)
      this.#gathering.push(change)
      return false
    })
  }

  #write(units: Unit[]): void {
    this.#committing = units
    this.#unflushed++
    let outcomes: Promise<void>[] = []
    this.#database.inOneTransaction(() => {
      outcomes = units.map((unit) => this.#writeUnit(unit))
    })
    const size = units.reduce((sum, { changed }) => sum + changed.length, 0)
    this.groups++
    this.writes += size
    this.largest = Math.max(this.largest, size)
    Promise.all(outcomes).then(() => {
      this.#unflushed--
      if (this.#committing === units) this.#committing = []
      this.#next()
    })
  }

  #writeUnit(unit: Unit): Promise<void> {
    return unit
      .write(this.#database)
      .then(
        (written) => this.#finish(unit, written),
        (error: LmdbError) => this.#refused(unit, error)
      )
      .catch((error: Error) => this.#settle(unit, error))
  }

  /** The transaction is said to be committed: what can be read of it is. */
  #lookAtCommitted(): void {
    const units = this.#committing
    if (units.length === 0) return
    const stays = !this.#database.isBeingOpened
    this.#database.refresh()
    for (const unit of units) unit.committed = stays && unit.isStored(this.#database)
    for (const unit of units) {
      if (!unit.committed) for (const handle of unit.handles) this.#held.add(handle)
      else if (this.#early) this.#settle(unit, null)
    }
    this.#committing = []
    if (!stays) {
      this.#lookAgain(units).catch((error: Error) => {
        for (const unit of units) this.#settle(unit, error)
      })
    }
    this.#next()
  }

  /**
   * What was taken back goes out again at once: LMDB's thread, which is to flush it, looks for its
   * transaction in vain until the next one.
   */
  async #lookAgain(units: readonly Unit[]): Promise<void> {
    await this.#database.untilOpened()
    this.#database.refresh()
    for (const unit of units) {
      if (unit.abandoned) continue
      unit.committed = unit.isStored(this.#database)
      if (unit.committed && this.#early) this.#settle(unit, null)
      else if (!unit.committed && unit.isLost(this.#database)) this.#again(unit)
    }
    this.#next()
  }

  async #finish(unit: Unit, written: boolean): Promise<void> {
    if (written && !unit.committed) {
      await this.#database.untilOpened()
      this.#database.refresh()
    }
    if (unit.abandoned) return
    if (written && (unit.committed || !unit.isLost(this.#database))) this.#settle(unit, null)
    else this.#again(unit)
  }

  #refused(unit: Unit, error: LmdbError): void {
    if (unit.abandoned) return
    this.#database.refresh()
    // It is there, and was not flushed.
    if (unit.committed || unit.isStored(this.#database))
      this.#settle(unit, this.#early ? null : error)
    else if (isOfSystem(error)) this.#break(unit, error)
    else if (unit.changes.every((change) => ++change.refusals < MOST_REFUSALS)) this.#again(unit)
    else this.#settle(unit, error)
  }

  #settle(unit: Unit, error: Error | null): void {
    this.#release(unit)
    if (!unit.settle(error) || error !== null) return
    for (const session of unit.changed) if (session.damage !== null) this.#damaged(session)
  }

  /** Before all that came later. */
  #again(unit: Unit): void {
    unit.abandoned = true
    this.#release(unit)
    this.#gathering.unshift(...unit.changes)
  }

  #release(unit: Unit): void {
    if (this.#held.size > 0) for (const handle of unit.handles) this.#held.delete(handle)
  }

  #next(): void {
    if (this.#gathering.length > 0) this.#schedule()
    const idle = this.#idle
    this.#idle = []
    for (const resolve of idle) resolve()
  }

  /** LMDB's thread has ended while it held the lock of this process. */
  #giveUp(): void {
    // A refused commit says so by its promises, which are settled by then.
    setImmediate(() => {
      const [unit] = this.#committing
      if (unit !== undefined) this.#break(unit)
    })
  }

  /** Nothing is ever written again by this process. */
  #break(unit: Unit, cause?: Error): void {
    this.#broken = new StoreUnavailableError(
      'write any more: LMDB has failed while it wrote, and is not sound after that; restart the process',
      { cause }
    )
    const units = [unit, ...this.#committing]
    this.#committing = []
    for (const each of units) this.#settle(each, this.#broken)
    for (const change of this.#gathering) change.settled(this.#broken)
    this.#gathering = []
    this.#next()
  }
}

/** With the number of what has failed, if LMDB says it. */
type LmdbError = Error & { readonly code?: unknown }

/** LMDB's own numbers are negative. */
function isOfSystem({ code }: LmdbError): boolean {
  return typeof code === 'number' && code > 0
}
