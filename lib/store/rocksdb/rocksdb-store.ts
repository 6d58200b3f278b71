import { resolve } from 'node:path'
import {
  DatabaseOpenError,
  InvalidHandleError,
  isOurs,
  RecordCorruptError,
  StoreDamagedError,
  StoreUnavailableError
} from '../../errors.js'
import { handleOf, isHandle, shortHandle } from '../../record/handle.js'
import type { SessionRecord } from '../../record/record.js'
import { fileRecord, type IndexWriter, unfileRecord } from '../format/indexes.js'
import {
  META_KEY,
  parsePrincipalKey,
  principalKey,
  principalRange,
  quarantineKey,
  recordKey,
  recordRange
} from '../format/keys.js'
import { encodeMeta, type FormatMeta } from '../format/meta.js'
import { decodeRecord, encodeRecord } from '../format/record-codec.js'
import type { BackupResult, LongOperation } from '../long-operation.js'
import { exposedMode } from '../private-files.js'
import type {
  LeftOut,
  SessionChanges,
  SessionStore,
  StoreContext,
  StoreLogger
} from '../session-store.js'
import type { StoreStats } from '../stats.js'
import { RecordCache } from './cache.js'
import { Compaction } from './compaction.js'
import type { RocksWriteBatch } from './engine/binding.js'
import { DamageLog, databaseFailure, isDamage, isUnreadable } from './engine/damage.js'
import type { OpenColumnFamily } from './engine/database.js'
import { estimateRecords, folderSize, readProperties } from './engine/engine-stats.js'
import { GroupCommit, type Write } from './engine/group-commit.js'
import { RecordReader } from './engine/record-reader.js'
import { Recovery } from './engine/recovery.js'
import { scanRecords } from './engine/scan.js'
import { WalSync } from './engine/wal-sync.js'
import { Walk } from './engine/walk.js'
import { checkFormat } from './format/meta.js'
import { upgradeFormat } from './format/migrations.js'
import { LiveRecord } from './live-record.js'
import { Reaper, type ReapProgress } from './reaper.js'
import { backUp, refuseHalfMade } from './upkeep/backup.js'

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
  #reader!: RecordReader
  #damage!: DamageLog
  readonly #finding = new Map<string, Promise<LiveRecord | null>>()
  readonly #backups = new Set<Promise<BackupResult>>()
  #closing = false
  quarantined = 0

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
    this.#damage = new DamageLog(connection.path, context.log)
    if (!connection.readOnly) await this.#warnIfExposed(connection.path, 'database')
    const walSync = this.#walSync
    this.#commit = new GroupCommit(connection, walSync === null ? null : () => walSync.sync())
    this.#reader = new RecordReader(connection)
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

  async #warnIfExposed(folder: string, what: string): Promise<void> {
    const mode = await exposedMode(folder)
    if (mode === null) return
    this.#context.log.warn(
      { folder, mode },
      `other users of this machine may look into the folder of the ${what}, which holds the data of all sessions: "chmod 700" keeps them out`
    )
  }

  create(handle: string, createdAt: number, now: number, expiresAt: number): LiveRecord {
    return new LiveRecord(handle, createdAt, now, expiresAt)
  }

  load(id: string): LiveRecord | null | Promise<LiveRecord | null> {
    const record = this.#cache.getById(id)
    if (record !== undefined && !record.destroyed) {
      this.#cache.hits++
      return this.#hold(record)
    }
    const found = this.loadByHandle(handleOf(id))
    if (!(found instanceof Promise)) return this.#named(found, id)
    return found.then((loaded) => this.#named(loaded, id))
  }

  loadByHandle(handle: string): LiveRecord | null | Promise<LiveRecord | null> {
    const record = this.#cache.get(handle) ?? this.#cache.recall(handle)
    if (record !== undefined) {
      this.#cache.hits++
      return record.destroyed ? this.#loadEnding(record) : this.#hold(record)
    }
    if (!isHandle(handle)) return null
    this.#cache.misses++
    return this.find(handle).then((found) => {
      if (found === null) return null
      return found.destroyed ? this.#loadEnding(found) : this.#hold(found)
    })
  }

  async read(handle: string): Promise<LiveRecord | null> {
    if (!isHandle(handle)) return null
    await this.#commit.settled()
    const key = recordKey(handle)
    const bytes = await this.#readBytes(key)
    return bytes === null ? null : decodeRecord(handle, bytes, key, LiveRecord)
  }

  release(record: SessionRecord): void {
    const live = record as LiveRecord
    live.holders--
    if (live.holders === 0) this.#cache.weigh(live)
  }

  save(record: SessionRecord, _changes: SessionChanges | null): Promise<void> {
    const live = record as LiveRecord
    if (live.destroyed) return this.#whenEnded(live)
    if (live.indexedAt === null && live.cachedWeight === null) this.#adopt(live)
    return this.#enqueue(live)
  }

  replace(old: SessionRecord, fresh: SessionRecord): Promise<boolean> {
    if (old.failure !== null) return Promise.reject(old.failure)
    const live = fresh as LiveRecord
    this.#adopt(live)
    const write = this.#asWrite(live)
    // One turn, so one group: both or neither.
    this.#commit.add({
      ...write,
      writeTo: (batch) => {
        // An earlier write of the old one has failed, and then this one is not made.
        live.failure ??= old.failure
        write.writeTo(batch)
      }
    })
    return this.destroy(old).then(() => true)
  }

  destroy(record: SessionRecord): Promise<void> {
    record.destroyed = true
    return this.#enqueue(record as LiveRecord)
  }

  async *handlesOf(principal: string): AsyncGenerator<string[]> {
    // A login or renewal under way is in the index only then.
    await this.#commit.settled()
    let whole = true
    const miss = (): void => {
      whole = false
    }
    // Nothing stays open between batches: who walks may take their time.
    for await (const keys of this.#keys(principalRange(principal), miss)) {
      yield keys.map(parsePrincipalKey)
    }
    if (!whole) yield* this.#handlesInRecords(principal)
  }

  /** Nobody is to outlive a logout because the list of a user is damaged: the records tell too. */
  async *#handlesInRecords(principal: string): AsyncGenerator<string[]> {
    const listed = new Set<string>()
    for await (const keys of this.#keys(principalRange(principal))) {
      for (const key of keys) listed.add(parsePrincipalKey(key))
    }
    for await (const record of this.records()) {
      if (record.principal === principal && !listed.has(record.handle)) yield [record.handle]
    }
  }

  async discard(handle: string, principal: string | null): Promise<void> {
    await this.#commit.add({
      writeTo(batch) {
        batch.tryDelete(recordKey(handle))
        if (principal !== null) batch.tryDelete(principalKey(principal, handle))
      },
      settled: (error) => {
        if (error !== null) this.#noteFailedWrite(error)
      }
    })
  }

  async count(): Promise<number> {
    let count = 0
    for await (const keys of this.#keys(recordRange())) count += keys.length
    return count
  }

  async *records(after?: string, leftOut: LeftOut = () => {}): AsyncGenerator<LiveRecord> {
    if (after !== undefined && !isHandle(after)) throw new InvalidHandleError()
    await this.#commit.settled()
    const { now, log } = this.#context
    const noteDamage = this.#damage.noteRead
    const stopped = (): boolean => this.#closing
    try {
      const { db } = this.#connection
      yield* scanRecords({ db, now, log, stopped, leftOut, noteDamage }, after)
    } catch (error) {
      throw databaseFailure('list sessions', error)
    }
  }

  async putRecords(records: readonly SessionRecord[]): Promise<void> {
    const pinning = await Promise.allSettled(records.map(({ handle }) => this.#pin(handle)))
    const held = pinning.map((pinned) => (pinned.status === 'fulfilled' ? pinned.value : null))
    try {
      const failed = pinning.find(({ status }) => status === 'rejected')
      if (failed !== undefined) throw (failed as PromiseRejectedResult).reason
      // One turn, so one group: all or none.
      await Promise.all(records.map((record) => this.#overwrite(record)))
    } finally {
      for (const record of held) if (record !== null) this.release(record)
    }
  }

  async lastCopyAt(): Promise<number | null> {
    const meta = await checkFormat(this.#connection)
    return meta?.copied === undefined ? null : Date.parse(meta.copied)
  }

  async noteCopy(at: number): Promise<void> {
    // To the whole ms after it, as nothing that was copied may be later.
    const copied = new Date(Math.ceil(at)).toISOString()
    const meta = (await checkFormat(this.#connection)) as FormatMeta
    await this.#commit.add({
      writeTo: (batch) => batch.tryPut(META_KEY, encodeMeta({ ...meta, copied })),
      settled: () => {}
    })
  }

  backup(folder: string, options: LongOperation = {}): Promise<BackupResult> {
    const stopped = (): boolean => this.#closing
    const running = this.#commit
      .settled()
      .then(() => backUp(this.#connection, folder, this.#context.now, stopped, options))
      .then(async (result) => {
        await this.#warnIfExposed(resolve(folder), 'backup')
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
      quarantined: this.quarantined,
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

  /** The live record, from memory or disk, whether it is past its time or not; not held. */
  find(handle: string): Promise<LiveRecord | null> {
    const cached = this.#cache.get(handle) ?? this.#cache.recall(handle)
    if (cached !== undefined) return Promise.resolve(cached)
    // All who ask at one time share one read, and with it one object.
    let finding = this.#finding.get(handle)
    if (finding === undefined) {
      finding = this.#fetch(handle).finally(() => this.#finding.delete(handle))
      this.#finding.set(handle, finding)
    }
    return finding
  }

  /** As `find`, and not remembered as one that a visitor has asked for. */
  async #findUnasked(handle: string): Promise<LiveRecord | null> {
    const cached = this.#cache.get(handle)
    if (cached !== undefined) return cached
    const record = await this.find(handle)
    if (record !== null && record.holders === 0) record.used = false
    return record
  }

  /** Files a record that lives on under its real deadline; for the reaper. */
  refile(record: LiveRecord): Promise<void> {
    record.refile = true
    return this.#enqueue(record)
  }

  /** The keys of a range, in pieces, beside those that cannot be read. */
  async *#keys(
    range: { gte: Buffer; lt: Buffer },
    onGap: () => void = () => {}
  ): AsyncGenerator<Buffer[]> {
    try {
      const walk = new Walk(
        this.#connection,
        range,
        { limit: KEYS_PER_READ, values: false },
        ({ error }) => {
          this.#damage.noteRead(error)
          onGap()
        }
      )
      for await (const entries of walk) yield entries.map(({ key }) => key)
    } catch (error) {
      throw databaseFailure('list sessions', error)
    }
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
      find: (handle) => this.#findUnasked(handle),
      expire: (record) => this.destroy(record),
      refile: (record) => this.refile(record),
      removeEntry: (key) =>
        this.#commit.add({ writeTo: (batch) => batch.tryDelete(key), settled: () => {} })
    })
  }

  #named(record: LiveRecord | null, id: string): LiveRecord | null {
    if (record !== null) this.#cache.nameId(record, id)
    return record
  }

  /** A session whose end is not durable yet may live on: nobody is told before that is known. */
  async #whenEnded(record: LiveRecord): Promise<void> {
    if (record.queued || record.writing > 0) await this.#commit.settled()
    if (record.failure !== null) throw record.failure
  }

  async #loadEnding(record: LiveRecord): Promise<LiveRecord | null> {
    await this.#whenEnded(record).catch(() => {})
    return record.failure === null ? null : this.loadByHandle(record.handle)
  }

  #hold(record: LiveRecord): LiveRecord | null {
    if (record.expiresAt <= this.#context.now()) return null
    record.used = true
    record.holders++
    return record
  }

  /** As `find`, and held, so that it stays the one object of its session. */
  async #pin(handle: string): Promise<LiveRecord | null> {
    const record = await this.find(handle).catch((error: unknown) => {
      // What cannot be read can still be replaced.
      if (error instanceof StoreDamagedError) return null
      throw error
    })
    if (record !== null) record.holders++
    return record
  }

  /** Puts a copy of a record in the place of what is stored under its handle. */
  #overwrite(record: SessionRecord): Promise<void> {
    const old = this.#cache.get(record.handle)
    const fresh = new LiveRecord(
      record.handle,
      record.createdAt,
      record.lastSeenAt,
      record.expiresAt
    )
    fresh.inherit(record, null)
    if (old !== undefined) {
      old.failure ??= new StoreUnavailableError('save a session that an import has replaced')
      this.#cache.delete(old)
    }
    // First to go when memory runs short: nobody has asked for it yet.
    fresh.used = false
    fresh.queued = true
    this.#cache.add(fresh)
    return this.#commit.add({
      writeTo: (batch) => {
        // Only now is it certain where the indexes have it: earlier writes are through.
        fresh.indexedAt = old?.indexedAt ?? null
        fresh.indexedPrincipal = old?.indexedPrincipal ?? null
        fresh.refile = true
        this.#write(fresh, batch)
      },
      settled: (error) => this.#settled(fresh, error)
    })
  }

  /** Makes a new record the live one of its session. */
  #adopt(record: LiveRecord): void {
    record.holders++
    this.#cache.add(record)
  }

  async #fetch(handle: string): Promise<LiveRecord | null> {
    const key = recordKey(handle)
    const bytes = await this.#readBytes(key)
    if (bytes === null) return null
    try {
      const record = decodeRecord(handle, bytes, key, LiveRecord)
      this.#cache.add(record)
      return record
    } catch (error) {
      if (!(error instanceof RecordCorruptError)) throw error
      await this.#quarantine(handle, bytes, key, error)
      return null
    }
  }

  async #readBytes(key: Buffer): Promise<Buffer | null> {
    try {
      return await this.#reader.read(key)
    } catch (error) {
      this.#damage.noteRead(error)
      throw databaseFailure('read a session', error)
    }
  }

  /** Keeps the bytes for a person to look at, out of the way of every visitor. */
  async #quarantine(handle: string, bytes: Buffer, key: Buffer, reason: Error): Promise<void> {
    this.quarantined++
    this.#context.log.error(
      { session: shortHandle(handle), err: reason },
      'a corrupt session record was put in quarantine; its visitor gets a fresh session'
    )
    await this.#commit.add({
      writeTo(batch) {
        batch.tryPut(quarantineKey(handle), bytes)
        batch.tryDelete(key)
      },
      settled: () => {}
    })
    this.#context.onQuarantine?.(handle)
  }

  #enqueue(record: LiveRecord): Promise<void> {
    if (record.failure !== null) return Promise.reject(record.failure)
    const done = record.queued ? this.#commit.join() : this.#commit.add(this.#asWrite(record))
    if (record.writing === 0) return done
    // An earlier write of it may yet fail, and then this one is not made.
    return done.then(() => {
      if (record.failure !== null) throw record.failure
    })
  }

  #asWrite(record: LiveRecord): Write {
    record.queued = true
    return {
      writeTo: (batch) => this.#write(record, batch),
      settled: (error) => this.#settled(record, error)
    }
  }

  #write(record: LiveRecord, batch: RocksWriteBatch): void {
    record.queued = false
    record.writing++
    if (record.failure !== null) return
    const key = recordKey(record.handle)
    const indexes: IndexWriter = {
      put: (entry) => batch.tryPut(entry, EMPTY),
      remove: (entry) => batch.tryDelete(entry)
    }
    if (record.destroyed) {
      batch.tryDelete(key)
      unfileRecord(record, indexes)
      return
    }
    fileRecord(record, record.refile, indexes)
    record.refile = false
    batch.tryPut(key, encodeRecord(record, key))
  }

  #noteFailedWrite(error: Error): void {
    if (this.#recovery !== null) this.#recovery.begin(error)
    else if (isDamage(error)) this.#damage.noteWrite(error)
  }

  #settled(record: LiveRecord, error: Error | null): void {
    record.writing--
    if (error !== null) {
      this.#noteFailedWrite(error)
      // What is in memory is no longer what is on disk: the next request reads it anew.
      record.failure ??= error
      record.destroyed = false
      this.#cache.delete(record)
    } else if ((record.destroyed || record.failure !== null) && !record.queued) {
      this.#cache.delete(record)
    } else {
      this.#cache.weigh(record)
      if (record.indexedAt !== null) this.#reaper.noteFiled(record.indexedAt)
    }
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

const EMPTY = Buffer.alloc(0)
const KEYS_PER_READ = 128
