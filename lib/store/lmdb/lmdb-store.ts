import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { InvalidHandleError, InvalidOptionError, RecordCorruptError } from '../../errors.js'
import { handleOf, isHandle, shortHandle } from '../../record/handle.js'
import { type Option, option, readOptions } from '../../record/option.js'
import type { NewRecord, SessionRecord } from '../../record/record.js'
import { identify } from '../folder.js'
import { IndexedRecord } from '../format/indexed-record.js'
import {
  handleIn,
  parsePrincipalKey,
  principalRange,
  recordKey,
  recordRange
} from '../format/keys.js'
import { decodeRecord } from '../format/record-codec.js'
import type { BackupResult, LongOperation } from '../long-operation.js'
import { type Known, knownOf, mergeChanges, mergeInto } from '../merge.js'
import { exposedMode, restrictFiles } from '../private-files.js'
import type { LeftOut, SessionChanges, SessionStore, StoreContext } from '../session-store.js'
import { NO_STATS, type StoreStats } from '../stats.js'
import { durability as checkDurability, folder } from '../store-options.js'
import { BACKUP_MARK, backUp } from './backup.js'
import type { LmdbRange } from './engine/binding.js'
import { DATA, type Database, type OpenOptions, openDatabase } from './engine/database.js'
import { birthOf } from './engine/version.js'
import { openFormat, readMeta, writeMeta } from './format.js'
import { GroupCommit } from './group-commit.js'
import { Leases } from './leases.js'
import { LmdbRecord } from './lmdb-record.js'
import { Reaper } from './reaper.js'
import type { StoredSession } from './stored-session.js'
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

const BATCH = 32
const KEYS_PER_READ = 128
/** For so long it is known what a session that was renewed goes on as. */
const HOUR = 3_600_000

const OPTIONS = {
  path: option(folder, undefined),
  durability: option(checkDurability, 'process')
} satisfies Record<keyof LmdbStoreOptions, Option<unknown>>

/** The folders of this process's open stores. */
const inUse = new Set<string>()

/** Two registrations on the same sessions would take each other's for their own. */
async function claim(path: string): Promise<string> {
  const identity = await identify(path)
  if (inUse.has(identity)) {
    const problem = `"${path}" is in use by another store of this process: give each its own`
    throw new InvalidOptionError('path', problem)
  }
  inUse.add(identity)
  return identity
}

/**
 * Sessions in one LMDB database, for all processes and threads of one machine. Reads are made at
 * once, from memory that all of them share, so nothing is ever stale. Each load gives a record of
 * its own; what a request has changed is merged key by key, and a session that ended meanwhile is
 * never brought back.
 *
 * Needs the package `lmdb`.
 */
export class LmdbStore implements SessionStore {
  readonly writers = 'several'
  readonly #path: string
  readonly #early: boolean
  readonly #opening: OpenOptions
  #context!: StoreContext
  #database!: Database
  #commit!: GroupCommit
  #leases!: Leases
  #reaper!: Reaper
  readonly #backups = new Set<Promise<void>>()
  #quarantined = 0
  /** What its folder is known by while it is open. */
  #identity: string | null = null

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
    try {
      if (!readOnly) await this.#takeFolder(database.path)
      await openFormat(database, context.now(), readOnly)
    } catch (error) {
      await this.#giveUp(database)
      throw error
    }
    this.#context = context
    this.#database = database
    this.#commit = new GroupCommit(database, this.#early, (session) => this.#noteDamage(session))
    this.#leases = new Leases(database)
    this.#reaper = new Reaper(database, this.#commit, this.#leases, context.now)
    if (!readOnly) await this.#warnIfExposed(database.path)
  }

  async #takeFolder(path: string): Promise<void> {
    this.#identity = await claim(path)
    await restrictFiles(path)
    // From here on it changes, and is a backup no more.
    await rm(join(path, BACKUP_MARK), { force: true })
  }

  async #warnIfExposed(path: string): Promise<void> {
    const mode = await exposedMode(path)
    if (mode === null) return
    this.#context.log.warn(
      { folder: path, mode },
      'other users of this machine may look into the folder of the database, which holds the data of all sessions: "chmod 700" keeps them out'
    )
  }

  create(start: NewRecord): LmdbRecord {
    return new LmdbRecord(start)
  }

  load(id: string): LmdbRecord | null | Promise<LmdbRecord | null> {
    return this.loadByHandle(handleOf(id))
  }

  loadByHandle(handle: string): LmdbRecord | null | Promise<LmdbRecord | null> {
    try {
      const record = this.#read(handle)
      return record !== null && record.expiresAt > this.#context.now() ? record : null
    } catch (error) {
      if (error instanceof RecordCorruptError) return this.#quarantine(handle)
      return Promise.reject(error)
    }
  }

  async read(handle: string): Promise<LmdbRecord | null> {
    return this.#read(handle)
  }

  save(record: SessionRecord, changes: SessionChanges | null): Promise<void> {
    const own = record as LmdbRecord
    return this.#inOrder(own, () =>
      this.#write([own.handle], (session) => {
        if (own.known === null) return putFirst(own, session(own.handle))
        const stored = this.#alive(own, session(own.handle))
        if (stored === null) return () => markDestroyed(own)
        session(own.handle).touch()
        return merge(stored, own, own.known, changes ?? NO_CHANGES)
      })
    )
  }

  async compareAndSet(
    record: SessionRecord,
    key: string,
    expected: string | undefined,
    text: string | undefined
  ): Promise<boolean> {
    const own = record as LmdbRecord
    let swapped = false
    await this.#inOrder(own, () =>
      this.#write([own.handle], (session) => {
        const stored = this.#alive(own, session(own.handle))
        if (stored === null) return () => markDestroyed(own)
        const found = stored.data.get(key)
        const isExpected = found === expected
        if (isExpected) {
          stored.apply(key, text)
          session(own.handle).touch()
        }
        return () => {
          swapped = isExpected
          own.apply(key, isExpected ? text : found)
          own.learn(key, isExpected ? text : found)
        }
      })
    )
    return swapped
  }

  async replace(
    old: SessionRecord,
    fresh: SessionRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean> {
    const from = old as LmdbRecord
    const to = fresh as LmdbRecord
    let replaced = false
    await this.#inOrder(from, () =>
      this.#write([from.handle, to.handle], (session) => {
        const stored = this.#alive(from, session(from.handle))
        if (stored === null || from.known === null) return () => markDestroyed(from)
        const { handle } = to
        const target = new IndexedRecord(to)
        mergeInto(target, stored, to, from.known, keep)
        session(from.handle).moveTo(handle, this.#context.now() + HOUR)
        session(handle).put(target)
        const { birth } = session(handle)
        const known = knownOf(to)
        return () => {
          replaced = true
          to.principal = target.principal
          to.known = { ...known, principal: target.principal }
          to.birth = birth
          markDestroyed(from)
        }
      })
    )
    if (!replaced) markDestroyed(to)
    return replaced
  }

  async destroy(record: SessionRecord): Promise<void> {
    let found = false
    await this.#inOrder(record as LmdbRecord, () =>
      this.#write([record.handle], (session) => {
        found = session(record.handle).version !== null
        session(record.handle).remove()
        return () => markDestroyed(record)
      })
    )
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

  async *handlesOf(principal: string): AsyncGenerator<string[]> {
    const { gte, lt } = principalRange(principal)
    yield* this.#walk('indexes', { start: gte, end: lt, limit: KEYS_PER_READ }, (keys) =>
      keys.map(parsePrincipalKey)
    )
  }

  async count(): Promise<number> {
    this.#database.refresh()
    return this.#database.sessions.getStats().entryCount
  }

  async *records(after?: string, leftOut: LeftOut = () => {}): AsyncGenerator<LmdbRecord> {
    if (after !== undefined && !isHandle(after)) throw new InvalidHandleError()
    const { gte, lt } = recordRange()
    const start = after === undefined ? gte : recordKey(after)
    const range = { start, end: lt, exclusiveStart: after !== undefined, limit: BATCH }
    for await (const keys of this.#walk('sessions', range, (found) => found)) {
      for (const key of keys) {
        const record = this.#readAlive(handleIn(key), leftOut)
        if (record !== null) yield record
      }
    }
  }

  async putRecords(records: readonly SessionRecord[]): Promise<void> {
    if (records.length === 0) return
    const handles = records.map(({ handle }) => handle)
    await this.#write(handles, (session) => {
      for (const record of records) session(record.handle).put(indexed(record))
      const births = records.map((record) => session(record.handle).birth)
      const known = records.map(knownOf)
      return () => {
        for (const [at, record] of records.entries()) {
          if (!(record instanceof LmdbRecord)) continue
          record.known = known[at] ?? null
          record.birth = births[at] ?? 0
        }
      }
    })
  }

  async lastCopyAt(): Promise<number | null> {
    this.#database.refresh()
    const copied = readMeta(this.#database)?.meta.copied
    return copied === undefined ? null : Date.parse(copied)
  }

  async noteCopy(at: number): Promise<void> {
    // To the whole ms after it, as nothing that was copied may be later.
    const copied = new Date(Math.ceil(at)).toISOString()
    for (;;) {
      this.#database.refresh()
      const found = readMeta(this.#database)
      if (found === null) return
      const { meta, version } = found
      if (await writeMeta(this.#database, version, { ...meta, copied })) return
    }
  }

  backup(folder: string, options: LongOperation = {}): Promise<BackupResult> {
    const running = backUp(this.#database, folder, this.#context.now, options)
    const ended = running.then(
      () => {},
      () => {}
    )
    this.#backups.add(ended)
    return running.finally(() => this.#backups.delete(ended))
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
      writes: this.#commit.stats(),
      reaper: { deleted: this.#reaper.deleted, refiled: this.#reaper.refiled },
      quarantined: this.#quarantined,
      engine: { pageSize, pages: lastPageNumber + 1, readers: numReaders }
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#backups)
    await this.#reaper.stop()
    await this.#commit.drain()
    await this.#giveUp(this.#database)
  }

  async #giveUp(database: Database): Promise<void> {
    if (this.#identity !== null) inUse.delete(this.#identity)
    this.#identity = null
    await database.close()
  }

  /** What is stored at this moment, whether it is past its time or not. */
  #read(handle: string): LmdbRecord | null {
    if (!isHandle(handle)) return null
    const key = recordKey(handle)
    this.#database.refresh()
    const entry = this.#database.read(this.#database.sessions, key)
    if (entry === null) return null
    const record = decodeRecord(handle, entry.bytes, key, LmdbRecord)
    record.known = knownOf(record)
    record.birth = birthOf(entry.version)
    return record
  }

  /** A batch at a time: a snapshot that a slow reader keeps would keep all that is deleted meanwhile. */
  async *#walk<T>(
    table: 'sessions' | 'indexes',
    range: LmdbRange & { readonly limit: number },
    convert: (keys: Buffer[]) => T[]
  ): AsyncGenerator<T[]> {
    for (let rest = range; ; ) {
      this.#database.refresh()
      const keys = this.#database.keys(this.#database[table], rest)
      if (keys.length > 0) yield convert(keys)
      const last = keys.at(-1)
      if (last === undefined || keys.length < range.limit) return
      rest = { ...range, start: last, exclusiveStart: true }
    }
  }

  #readAlive(handle: string, leftOut: LeftOut): LmdbRecord | null {
    try {
      const record = this.#read(handle)
      return record !== null && record.expiresAt > this.#context.now() ? record : null
    } catch (error) {
      if (!(error instanceof RecordCorruptError)) throw error
      this.#context.log.error(
        { session: shortHandle(handle), err: error },
        'a corrupt session record was left out; "sled-session verify" tells more'
      )
      leftOut(shortHandle(handle))
      return null
    }
  }

  /** What is stored of the session that a record is of, or `null` if that has ended. */
  #alive(record: LmdbRecord, session: StoredSession): IndexedRecord | null {
    const stored = session.record
    if (stored === null || session.birth !== record.birth) return null
    return stored.expiresAt > this.#context.now() ? stored : null
  }

  /** Of one record, each write waits for the one before, which tells what is known then. */
  #inOrder(record: LmdbRecord, write: () => Promise<void>): Promise<void> {
    const begin = (): Promise<void> => {
      if (record.failure !== null) return Promise.reject(record.failure)
      return record.destroyed ? Promise.resolve() : write()
    }
    const writing = record.writing === null ? begin() : record.writing.then(begin)
    const ended = writing
      .catch(() => {})
      .then(() => {
        if (record.writing === ended) record.writing = null
      })
    record.writing = ended
    return writing
  }

  /**
   * Makes a change as one of the group of this turn. `apply` may be called several times, before
   * anything is written; what it returned last is called when that is durable.
   */
  async #write(
    handles: readonly string[],
    apply: (session: (handle: string) => StoredSession) => () => void
  ): Promise<void> {
    let written = (): void => {}
    await this.#commit.add(handles, (session) => {
      written = apply(session)
    })
    written()
  }

  /** Any change of what does not decode keeps it for a person to look at, and takes it out of the way. */
  async #quarantine(handle: string): Promise<null> {
    await this.#write([handle], () => () => {})
    return null
  }

  #noteDamage({ handle, damage }: StoredSession): void {
    if (damage === null) return
    this.#quarantined++
    this.#context.log.error(
      { session: shortHandle(handle), err: damage.reason },
      'a corrupt session record was put in quarantine; its visitor gets a fresh session'
    )
    this.#context.onQuarantine?.(handle)
  }
}

const NO_CHANGES: SessionChanges = new Map()

function markDestroyed(record: SessionRecord): void {
  record.destroyed = true
}

function putFirst(record: LmdbRecord, session: StoredSession): () => void {
  const copy = indexed(record)
  session.put(copy)
  const known = knownOf(copy)
  const { birth } = session
  return () => {
    record.known = known
    record.birth = birth
  }
}

function merge(
  stored: IndexedRecord,
  record: LmdbRecord,
  known: Known,
  changes: SessionChanges
): () => void {
  mergeChanges(stored, record, known, changes)
  const { createdAt, expiry, metadata, principal: own } = record
  const { principal } = stored
  return () => {
    // Another process may have made it somebody else's, which this record has not changed.
    if (record.principal === own) record.principal = principal
    record.known = { createdAt, expiry, metadata, principal, data: known.data }
    for (const [key, text] of changes) record.learn(key, text)
  }
}

/** A copy for the store alone. */
function indexed(record: SessionRecord): IndexedRecord {
  const copy = new IndexedRecord(record)
  copy.inherit(record, null)
  return copy
}
