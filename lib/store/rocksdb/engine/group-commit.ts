import { setImmediate } from '../../../timers.js'
import type { WriteStats } from '../../stats.js'
import type { RocksDatabase, RocksWriteBatch } from './binding.js'
import { databaseFailure } from './damage.js'

/** Something that is to be written, as it is when the write goes out. */
export interface Write {
  /**
   * Of the change of a session: called first of all, also where a database that is closed at the
   * moment takes nothing.
   */
  begun?(): void
  /** Called for all of a group, in their order, before the first is written. */
  prepare?(): void
  /** Called once, synchronously, when its group goes out. */
  writeTo(batch: RocksWriteBatch): void
  /**
   * Called when the group is durable, or with the reason why nobody may rely on it: nothing of it was
   * written, or all of it was and the sync after that has failed. Must not throw.
   */
  settled(error: Error | null): void
}

/** The binding keeps batches up to this capacity for the next one. */
const REUSED_CAPACITY = 16

class Group {
  readonly writes: Write[] = []
  readonly done: Promise<void>
  resolve!: () => void
  reject!: (error: Error) => void

  constructor() {
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    // Whoever cares has a promise of their own; background writes report through settled().
    this.done.catch(() => {})
  }
}

/**
 * Gathers all writes of one turn of the event loop into one atomic batch. Only one batch is under
 * way at a time: the binding's threads could swap two, and while one is on its way the next group
 * grows, which is what makes a busy server cheaper per write. While the disk syncs what was written,
 * the next batch is; the sync after that is for all that were written by its start.
 */
export class GroupCommit {
  readonly #connection: { readonly db: RocksDatabase }
  readonly #sync: (() => Promise<void>) | null
  #gathering: Group | null = null
  #writing: Group | null = null
  /** Written, and not in the sync under way. */
  #written: Group[] = []
  #syncing: Group[] = []
  #syncs: Promise<void> | null = null
  #scheduled = false
  groups = 0
  writes = 0
  /** Of these, changes of a session; the others tidy up. */
  sessions = 0
  largest = 0

  /** @param sync called after each batch: a group is durable, and acknowledged, when it resolves */
  constructor(
    connection: { readonly db: RocksDatabase },
    sync: (() => Promise<void>) | null = null
  ) {
    this.#connection = connection
    this.#sync = sync
  }

  stats(): WriteStats {
    return { sessions: this.sessions, groups: this.groups, largestGroup: this.largest }
  }

  /** Adds a write and returns the promise of its whole group. */
  add(write: Write): Promise<void> {
    return this.#open(write).done
  }

  /** The promise of the group that gathers now, for those whose write is already in it. */
  join(): Promise<void> {
    return this.#open(null).done
  }

  /** Resolves when all that was added until now is durable, or has failed. */
  async settled(): Promise<void> {
    await this.#newest?.done.catch(() => {})
  }

  /** Resolves when nothing is waiting or under way any more. */
  async drain(): Promise<void> {
    for (;;) {
      const group = this.#newest
      if (group === null) return
      await group.done.catch(() => {})
    }
  }

  /** They settle in the order in which they came. */
  get #newest(): Group | null {
    return this.#gathering ?? this.#writing ?? this.#written.at(-1) ?? this.#syncing.at(-1) ?? null
  }

  #open(write: Write | null): Group {
    this.#gathering ??= new Group()
    if (write !== null) this.#gathering.writes.push(write)
    if (!this.#scheduled && this.#writing === null) this.#schedule()
    return this.#gathering
  }

  #schedule(): void {
    this.#scheduled = true
    // After the poll phase: by then all sockets that were readable in this turn have been heard.
    setImmediate(() => this.#flush())
  }

  #flush(): void {
    this.#scheduled = false
    const group = this.#gathering
    if (group === null) return
    this.#gathering = null
    this.#writing = group
    this.#write(group).then(
      () => this.#endWrite(group, null),
      async (error: Error) => {
        // Groups settle in order, and whatever comes behind this one must know that it has failed.
        await this.#syncs
        this.#endWrite(group, databaseFailure('save a session', error))
      }
    )
  }

  #endWrite(group: Group, error: Error | null): void {
    this.#writing = null
    if (error === null && this.#sync !== null) {
      this.#written.push(group)
      this.#syncs ??= this.#syncWritten(this.#sync)
    } else settle(group, error)
    if (this.#gathering !== null && !this.#scheduled) this.#schedule()
  }

  /** A sync that fails says nothing of what was written during it: the next one is for that. */
  async #syncWritten(sync: () => Promise<void>): Promise<void> {
    while (this.#written.length > 0) {
      this.#syncing = this.#written
      this.#written = []
      const error = await sync().then(
        () => null,
        (reason: Error) => databaseFailure('save a session', reason)
      )
      const { length } = this.#syncing
      for (let at = 0; at < length; at++) settle(this.#syncing.shift() as Group, error)
    }
    this.#syncs = null
  }

  async #write(group: Group): Promise<void> {
    const changes = group.writes.filter(({ begun }) => begun !== undefined)
    for (const change of changes) change.begun?.()
    const batch = this.#connection.db.write({
      capacity: Math.max(REUSED_CAPACITY, 2 * group.writes.length),
      autoDestroy: true
    })
    try {
      for (const write of group.writes) write.prepare?.()
      for (const write of group.writes) write.writeTo(batch)
    } catch (error) {
      // A batch that is neither written nor given back keeps the database from closing.
      batch.destroy()
      throw error
    }
    this.groups++
    this.writes += group.writes.length
    this.sessions += changes.length
    this.largest = Math.max(this.largest, changes.length)
    await batch.flush()
  }
}

function settle(group: Group, error: Error | null): void {
  for (const write of group.writes) write.settled(error)
  if (error === null) group.resolve()
  else group.reject(error)
}
