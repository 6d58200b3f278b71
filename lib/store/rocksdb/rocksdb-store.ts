import { resolve } from 'node:path'
import {
  DatabaseOpenError,
  InvalidHandleError,
  isOurs,
  RecordCorruptError,
  StoreDamagedError
} from '../../errors.js'
import { isHandle } from '../../record/handle.js'
import type { NewRecord, SessionRecord } from '../../record/record.js'
import { META_KEY, parsePartKey } from '../format/keys.js'
import { encodeMeta, type FormatMeta } from '../format/meta.js'
import type { BackupResult, LongOperation } from '../long-operation.js'
import { warnIfExposed } from '../private-files.js'
import type {
  LeftOut,
  SessionChanges,
  SessionStore,
  StoreContext,
  StoreLogger
} from '../session-store.js'
import type { StoreStats } from '../stats.js'
import { Quarantine } from '../unreadable.js'
import { RecordCache } from './cache.js'
import { Compaction } from './compaction.js'
import { DamageLog, databaseFailure, isDamage, isUnreadable } from './engine/damage.js'
import type { OpenColumnFamily } from './engine/database.js'
import { estimateRecords, folderSize, readProperties } from './engine/engine-stats.js'
import { GroupCommit } from './engine/group-commit.js'
import { RecordReader } from './engine/record-reader.js'
import { Recovery } from './engine/recovery.js'
import { WalSync } from './engine/wal-sync.js'
import { ExpiryIndex } from './expiry-index.js'
import { checkFormat } from './format/meta.js'
import { upgradeFormat } from './format/migrations.js'
import { LiveRecord } from './live-record.js'
import { LiveRecords, type RecordSource } from './live-records.js'
import { Reaper, type ReapProgress } from './reaper.js'
import { RecordWriter, type Replaced } from './record-writer.js'
import { backUp, refuseHalfMade } from './upkeep/backup.js'
import { Walks } from './walks.js'

/** What an acknowledged write survives: the end of the process, or a power loss as well. */
export type Durability = 'process' | 'power'

export interface RocksDBStoreOptions {
  /** Opens the column family; called once, when the store is opened. */
  readonly connect: (log: StoreLogger) => Promise<OpenColumnFamily>
  /** Default `process`. */
  readonly durability?: Durability
  /** The budget of the cache of live records, in bytes. */
  readonly cacheBytes: number
}

/**
 * Sessions in one RocksDB column family. RocksDB lets one process open a database, so this store
 * is the only writer: what it has in memory is never stale, and there is one live record for each
 * session that is in use.
 */
export class RocksDBStore implements SessionStore {
  readonly writers = 'one'
  readonly #options: RocksDBStoreOptions
  readonly #cache: RecordCache
  #context!: StoreContext
  #connection!: OpenColumnFamily
  #commit!: GroupCommit
  #walSync: WalSync | null = null
  /** None for a database that the application has open. */
  #recovery: Recovery | null = null
  #reaper!: Reaper
  #compaction!: Compaction
  #live!: LiveRecords
  #writer!: RecordWriter
  #walks!: Walks
  #damage!: DamageLog
  readonly #backups = new Set<Promise<BackupResult>>()
  #quarantine!: Quarantine
  #closing = false

  constructor(options: RocksDBStoreOptions) {
    this.#options = options
    this.#cache = new RecordCache(options.cacheBytes)
  }

  async open(context: StoreContext): Promise<void> {
    const connection = await this.#options.connect(context.log)
    if (this.#options.durability === 'power') this.#walSync = new WalSync(connection)
    try {
      // First of all, so that a newer format is left untouched.
      await checkMeta(connection, context)
      if (!connection.readOnly) await upgradeFormat(connection, context)
      await this.#walSync?.sync()
    } catch (error) {
      await this.#walSync?.close()
      await connection.close()
      // Damage that RocksDB meets only at the first read has no class of ours yet.
      if (isOurs(error)) throw error
      throw new DatabaseOpenError(connection.path, (error as Error).message, { cause: error })
    }
    this.#context = context
    this.#connection = connection
    this.#quarantine = new Quarantine(context)
    this.#damage = new DamageLog(connection.path, context.log)
    if (!connection.readOnly) await warnIfExposed(connection.path, 'database', context.log)
    const walSync = this.#walSync
    this.#commit = new GroupCommit(connection, walSync === null ? null : () => walSync.sync())
    const index = new ExpiryIndex(context.now)
    this.#writer = new RecordWriter(this.#commit, this.#cache, index, {
      filed: (time) => this.#reaper.noteFiled(time),
      failed: (error) => this.#noteFailedWrite(error)
    })
    this.#live = new LiveRecords(this.#cache, this.#recordSource(new RecordReader(connection)))
    this.#walks = new Walks(connection, context, this.#damage, () => this.#closing)
    this.#reaper = this.#createReaper()
    this.#compaction = new Compaction(
      connection,
      () => this.#closing,
      (error) => this.#noteFailedWrite(error)
    )
    const { path, reopen } = connection
    if (reopen !== undefined) {
      this.#recovery = new Recovery({ path, reopen }, context.log, this.#damage)
    }
  }

  create(start: NewRecord): LiveRecord {
    return new LiveRecord(start)
  }

  load(id: string): LiveRecord | null | Promise<LiveRecord | null> {
    return this.#live.load(id)
  }

  loadByHandle(handle: string): LiveRecord | null | Promise<LiveRecord | null> {
    return this.#live.loadByHandle(handle)
  }

  async read(handle: string): Promise<LiveRecord | null> {
    if (!isHandle(handle)) return null
    await this.#commit.settled()
    return this.#live.read(handle)
  }

  save(record: SessionRecord, _changes: SessionChanges | null): Promise<void> {
    return this.#writer.save(record as LiveRecord)
  }

  touch(record: SessionRecord, isUnchanged: () => boolean): Promise<void> {
    return this.#writer.touch(record as LiveRecord, isUnchanged)
  }

  replace(old: SessionRecord, fresh: SessionRecord): Promise<boolean> {
    return this.#writer.replace(old as LiveRecord, fresh as LiveRecord)
  }

  destroy(record: SessionRecord): Promise<void> {
    const live = record as LiveRecord
    return live.destroyed ? this.#destroyAgain(live) : this.#writer.destroy(live)
  }

  async discard(handle: string, principal: string | null): Promise<void> {
    const parts = await this.#walks.parts(handle, false)
    // An import may have replaced it meanwhile, and then it is in memory.
    const record = this.#live.recall(handle)
    if (record !== undefined) return this.#writer.destroy(record)
    const keys = parts.map(({ key }) => key)
    await this.#writer.discard(handle, principal, keys)
  }

  async *handlesOf(principal: string): AsyncGenerator<string[]> {
    // A login or renewal under way is in the index only then.
    await this.#commit.settled()
    yield* this.#walks.handlesOf(principal)
  }

  count(): Promise<number> {
    return this.#walks.count()
  }

  async *records(after?: string, leftOut?: LeftOut): AsyncGenerator<LiveRecord> {
    if (after !== undefined && !isHandle(after)) throw new InvalidHandleError()
    await this.#commit.settled()
    yield* this.#walks.records(after, leftOut)
  }

  async putRecords(records: readonly SessionRecord[]): Promise<void> {
    const found = await Promise.all(records.map(({ handle }) => this.#findReplaced(handle)))
    // One turn, so one group: all or none.
    await Promise.all(
      records.map((record, at) => this.#writer.overwrite(record, found[at] as Replaced))
    )
  }

  async lastCopyAt(): Promise<number | null> {
    const meta = await checkFormat(this.#connection)
    return meta?.copied === undefined ? null : Date.parse(meta.copied)
  }

  async noteCopy(at: number): Promise<void> {
    // To the whole ms after it, as nothing that was copied may be later.
    const copied = new Date(Math.ceil(at)).toISOString()
    const meta = (await checkFormat(this.#connection)) as FormatMeta
    await this.#writer.write((batch) => batch.tryPut(META_KEY, encodeMeta({ ...meta, copied })))
  }

  backup(folder: string, options: LongOperation = {}): Promise<BackupResult> {
    const stopped = (): boolean => this.#closing
    const running = this.#commit
      .settled()
      .then(() => backUp(this.#connection, folder, this.#context.now, stopped, options))
      .then(async (result) => {
        await warnIfExposed(resolve(folder), 'backup', this.#context.log)
        return result
      })
    this.#backups.add(running)
    return running.finally(() => this.#backups.delete(running))
  }

  async stats(): Promise<StoreStats> {
    const { db, path } = this.#connection
    const [sessions, diskBytes, engine] = await Promise.all([
      estimateRecords(db),
      folderSize(path),
      readProperties(db)
    ])
    return {
      store: 'rocksdb',
      sessions,
      diskBytes,
      cache: this.#cache.stats(),
      writes: this.#commit.stats(),
      reaper: { deleted: this.#reaper.deleted, refiled: this.#reaper.refiled },
      quarantined: this.#quarantine.count,
      engine
    }
  }

  async deleteExpired(onProgress?: ReapProgress): Promise<number> {
    const deleted = await this.#reaper.run(onProgress)
    if (!this.#closing) await this.#compaction.startIfDue()
    return deleted
  }

  async close(): Promise<void> {
    this.#closing = true
    await Promise.allSettled(this.#backups)
    await this.#reaper.stop()
    await this.#compaction.settled().catch(() => {})
    await this.#commit.drain()
    await this.#recovery?.stop()
    await this.#walSync?.close()
    await this.#connection.close()
  }

  /** An import may have brought back a session that has ended, as another object. */
  async #destroyAgain(ended: LiveRecord): Promise<void> {
    await this.#writer.ended(ended)
    const live = await this.#live.find(ended.handle)
    if (live !== null && live !== ended) await this.#writer.destroy(live)
  }

  #createReaper(): Reaper {
    const connection = this.#connection
    return new Reaper({
      get db() {
        return connection.db
      },
      now: this.#context.now,
      log: this.#context.log,
      noteDamage: this.#damage.noteRead,
      writes: () => this.#commit.writes,
      find: (handle) => this.#live.find(handle),
      expire: (record) => this.#writer.destroy(record),
      refile: (record) => this.#writer.refile(record),
      removeEntry: (key, sessions) => this.#writer.removeEntry(key, sessions),
      settled: () => this.#commit.settled()
    })
  }

  /** As the live records find it, but what is damaged can still be replaced. */
  async #findReplaced(handle: string): Promise<Replaced> {
    try {
      return { record: await this.#live.find(handle), parts: [] }
    } catch (error) {
      if (!(error instanceof StoreDamagedError)) throw error
      const parts = await this.#walks.parts(handle, false)
      return { record: null, parts: parts.map(({ key }) => parsePartKey(key).number) }
    }
  }

  #recordSource(reader: RecordReader): RecordSource {
    const failed = (error: unknown): never => {
      if (error instanceof RecordCorruptError) throw error
      this.#damage.noteRead(error)
      throw databaseFailure('read a session', error)
    }
    return {
      now: this.#context.now,
      ended: (record) => this.#writer.ended(record),
      read: (key) => reader.read(key).catch(failed),
      readWhole: (key) => reader.readWhole(key).catch(failed),
      quarantine: (handle, bytes, key, reason) =>
        this.#quarantine.put(handle, reason, async () => {
          const parts = await this.#walks.parts(handle)
          await this.#writer.quarantine(handle, bytes, key, parts)
        })
    }
  }

  #noteFailedWrite(error: Error): void {
    if (this.#recovery !== null) this.#recovery.begin(error)
    else if (isDamage(error)) this.#damage.noteWrite(error)
  }
}

/** Whoever only looks is shown what can be read, though nothing tells in which format it is. */
async function checkMeta(connection: OpenColumnFamily, { log }: StoreContext): Promise<void> {
  try {
    await checkFormat(connection)
    await refuseHalfMade(connection)
  } catch (error) {
    if (!connection.readOnly || !isUnreadable(error)) throw error
    log.error({ err: error }, 'the entry that names the format lies in a damaged file')
  }
}
