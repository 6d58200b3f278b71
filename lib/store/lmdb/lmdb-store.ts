import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { InvalidHandleError, RecordCorruptError } from '../../errors.js'
import { isHandle } from '../../record/handle.js'
import { type Option, option, readOptions } from '../../record/option.js'
import type { NewRecord, SessionRecord } from '../../record/record.js'
import type { BackupResult, LongOperation } from '../long-operation.js'
import { restrictFiles, warnIfExposed } from '../private-files.js'
import type { LeftOut, SessionChanges, SessionStore, StoreContext } from '../session-store.js'
import { NO_STATS, type StoreStats } from '../stats.js'
import { durability as checkDurability, folder } from '../store-options.js'
import { unopened } from '../unopened.js'
import { Quarantine } from '../unreadable.js'
import { BACKUP_MARK, backUp } from './backup.js'
import { Claims } from './claims.js'
import { DATA, type Database, type OpenOptions, openDatabase } from './engine/database.js'
import { noteCopy, openFormat, readMeta } from './format.js'
import { GroupCommit } from './group-commit.js'
import { Leases } from './leases.js'
import { LmdbRecord } from './lmdb-record.js'
import { Reaper } from './reaper.js'
import { RecentRecords } from './recent-records.js'
import { RecordReader } from './record-reader.js'
import { RecordWriter } from './record-writer.js'
import { readSuccessor } from './successor.js'

export interface LmdbStoreOptions {
  /** The folder of the database, on a local disk; made if it does not exist. */
  path: string
  /**
   * What an acknowledged write survives: `process` the end of the process, `power` also a power
   * loss. Default `process`.
   */
  durability?: 'process' | 'power'
}

const OPTIONS = {
  path: option(folder, undefined),
  durability: option(checkDurability, 'process')
} satisfies Record<keyof LmdbStoreOptions, Option<unknown>>

const claims = new Claims()

/**
 * Sessions in one LMDB database, for all processes and threads of one machine. Reads are made at
 * once, from memory that all of them share, so nothing is ever stale. Each load gives a record of
 * its own; what a request has changed is merged key by key, and a session that ended meanwhile is
 * never brought back.
 *
 * Needs the package `lmdb`.
 *
 * ```ts
 * import { LmdbStore } from 'fastify-sled-session/lmdb'
 *
 * await fastify.register(sledSession, { store: new LmdbStore({ path: './storage' }) })
 * ```
 */
export class LmdbStore implements SessionStore {
  readonly writers = 'several'
  readonly #path: string
  readonly #early: boolean
  readonly #opening: OpenOptions
  #context: StoreContext = unopened()
  #database: Database = unopened()
  #commit: GroupCommit = unopened()
  #reader: RecordReader = unopened()
  #writer: RecordWriter = unopened()
  #leases: Leases = unopened()
  #reaper: Reaper = unopened()
  #quarantine: Quarantine = unopened()
  readonly #recent = new RecentRecords()
  readonly #backups = new Set<Promise<unknown>>()
  /** Gives the folder back to other stores of this process. */
  #leaveFolder = (): void => {}

  /** @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` */
  constructor(options: LmdbStoreOptions, opening: OpenOptions = {}) {
    const { path, durability } = readOptions(OPTIONS, options)
    this.#path = path
    this.#early = durability === 'process'
    this.#opening = opening
  }

  async open(context: StoreContext): Promise<void> {
    const { readOnly = false } = this.#opening
    const database = await openDatabase(this.#path, this.#opening)
    this.#database = database
    try {
      if (!readOnly) await this.#takeFolder(database.path)
      await openFormat(database, context.now(), readOnly)
    } catch (error) {
      await this.#closeDatabase()
      throw error
    }
    this.#context = context
    this.#quarantine = new Quarantine(context)
    this.#commit = new GroupCommit(database, this.#recent, this.#early, ({ handle, damage }) => {
      if (damage !== null) this.#quarantine.put(handle, damage.reason)
    })
    this.#reader = new RecordReader(database, this.#recent, context)
    this.#writer = new RecordWriter(this.#commit, context)
    this.#leases = new Leases(database)
    this.#reaper = new Reaper(database, this.#commit, this.#leases, context.now)
    if (!readOnly) await warnIfExposed(database.path, 'database', context.log)
  }

  async #takeFolder(path: string): Promise<void> {
    this.#leaveFolder = await claims.enter(path)
    await restrictFiles(path)
    // A backup that is opened to write changes, and so is none any more.
    await rm(join(path, BACKUP_MARK), { force: true })
  }

  create(start: NewRecord): LmdbRecord {
    return new LmdbRecord(start)
  }

  load(id: string): LmdbRecord | null | Promise<LmdbRecord | null> {
    const handle = this.#recent.handleOf(id)
    const record = this.#load(handle)
    if (record instanceof LmdbRecord) this.#recent.noteId(id, handle)
    return record
  }

  loadByHandle(handle: string): LmdbRecord | null | Promise<LmdbRecord | null> {
    return isHandle(handle) ? this.#load(handle) : null
  }

  #load(handle: string): LmdbRecord | null | Promise<LmdbRecord | null> {
    try {
      return this.#reader.load(handle)
    } catch (error) {
      if (!(error instanceof RecordCorruptError)) return Promise.reject(error)
      return this.#writer.quarantine(handle).then(() => null)
    }
  }

  async read(handle: string): Promise<LmdbRecord | null> {
    return this.#reader.read(handle)
  }

  save(record: SessionRecord, changes: SessionChanges | null): Promise<void> {
    return this.#writer.save(record as LmdbRecord, changes)
  }

  compareAndSet(
    record: SessionRecord,
    key: string,
    expected: string | undefined,
    text: string | undefined
  ): Promise<boolean> {
    return this.#writer.compareAndSet(record as LmdbRecord, key, expected, text)
  }

  replace(
    old: SessionRecord,
    fresh: SessionRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean> {
    return this.#writer.replace(old as LmdbRecord, fresh as LmdbRecord, keep)
  }

  async destroy(record: SessionRecord): Promise<void> {
    const found = await this.#writer.remove(record as LmdbRecord)
    const successor = found ? null : await this.loadSuccessor(record.handle)
    if (successor !== null) await this.destroy(successor)
  }

  async loadSuccessor(handle: string): Promise<LmdbRecord | null> {
    this.#database.refresh()
    const next = readSuccessor(this.#database, handle, this.#context.now())
    if (next === null) return null
    return (await this.loadByHandle(next)) ?? this.loadSuccessor(next)
  }

  takeLease(name: string, owner: string, milliseconds: number): Promise<boolean> {
    return this.#leases.take(name, owner, milliseconds)
  }

  releaseLease(name: string, owner: string): Promise<void> {
    return this.#leases.release(name, owner)
  }

  handlesOf(principal: string): AsyncIterable<string[]> {
    return this.#reader.handlesOf(principal)
  }

  async count(): Promise<number> {
    this.#database.refresh()
    return this.#database.sessions.getStats().entryCount
  }

  async *records(after?: string, leftOut: LeftOut = () => {}): AsyncGenerator<LmdbRecord> {
    if (after !== undefined && !isHandle(after)) throw new InvalidHandleError()
    yield* this.#reader.records(after, leftOut)
  }

  async putRecords(records: readonly SessionRecord[]): Promise<void> {
    if (records.length > 0) await this.#writer.put(records)
  }

  async lastCopyAt(): Promise<number | null> {
    this.#database.refresh()
    const copied = readMeta(this.#database)?.meta.copied
    return copied === undefined ? null : Date.parse(copied)
  }

  noteCopy(at: number): Promise<void> {
    return noteCopy(this.#database, at)
  }

  backup(folder: string, options: LongOperation = {}): Promise<BackupResult> {
    const running = backUp(this.#database, folder, this.#context.now, options)
    this.#backups.add(running)
    return running.finally(() => this.#backups.delete(running))
  }

  deleteExpired(onProgress?: (deleted: number) => void): Promise<number> {
    return this.#reaper.run(onProgress)
  }

  async stats(): Promise<StoreStats> {
    this.#database.refresh()
    const { entryCount, pageSize, lastPageNumber, numReaders } = this.#database.sessions.getStats()
    const { size } = await stat(join(this.#database.path, DATA))
    return {
      ...NO_STATS,
      store: 'lmdb',
      sessions: entryCount,
      diskBytes: size,
      cache: this.#recent.stats(),
      writes: this.#commit.stats(),
      reaper: { deleted: this.#reaper.deleted, refiled: this.#reaper.refiled },
      quarantined: this.#quarantine.count,
      engine: { pageSize, pages: lastPageNumber + 1, readers: numReaders }
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#backups)
    await this.#reaper.stop()
    await this.#commit.drain()
    await this.#closeDatabase()
  }

  async #closeDatabase(): Promise<void> {
    this.#leaveFolder()
    await this.#database.close()
  }
}
