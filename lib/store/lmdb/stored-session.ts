import { RecordCorruptError } from '../../errors.js'
import { IndexedRecord } from '../format/indexed-record.js'
import type { IndexWriter } from '../format/indexes.js'
import { expiryKey, quarantineKey, recordKey, successorKey } from '../format/keys.js'
import { encodeRecord } from '../format/record-codec.js'
import type { Database } from './engine/database.js'
import { birthOf, newBirth, nextVersion } from './engine/version.js'
import { fileRecord, unfileRecord } from './indexes.js'
import { copyOf, type RecentRecords } from './recent-records.js'
import { encodeSuccessor, type Successor } from './successor.js'

const EMPTY = Buffer.alloc(0)

/** What is stored of one session, as one group of writes finds and changes it. */
export class StoredSession {
  readonly handle: string
  readonly key: Buffer
  /** As found; `null` if there is no entry. It must still be that when the group is committed. */
  readonly version: number | null
  /** What did not decode. */
  readonly damage: { readonly bytes: Buffer; readonly reason: Error } | null = null
  readonly #recent: RecentRecords
  readonly #found: IndexedRecord | null = null
  #record: IndexedRecord | null = null
  #birth: number
  #changed = false
  readonly #entries: Buffer[] = []
  #successor: Successor | null = null
  #refile = false
  /** What the entry will have; `null` if it is to be deleted, `undefined` if nothing was asked. */
  #newVersion: number | null | undefined

  constructor(database: Database, recent: RecentRecords, handle: string) {
    this.handle = handle
    this.#recent = recent
    const last = recent.get(handle)
    this.key = last?.key ?? recordKey(handle)
    this.version = database.versionOf(database.sessions, this.key)
    this.#birth = this.version === null ? 0 : birthOf(this.version)
    if (this.version === null) return
    try {
      this.#found = recent.read(database, handle, this.key, this.version, last)
      this.#record = copyOf(this.#found, IndexedRecord)
    } catch (error) {
      if (!(error instanceof RecordCorruptError)) throw error
      const bytes = database.read(database.sessions, this.key)?.bytes ?? EMPTY
      this.damage = { bytes: Buffer.from(bytes), reason: error }
      this.#changed = true
    }
  }

  /** As it is after the changes so far. Whoever changes it says so by {@link touch}. */
  get record(): IndexedRecord | null {
    return this.#record
  }

  get birth(): number {
    return this.#birth
  }

  get changed(): boolean {
    return this.#changed
  }

  touch(refile = false): void {
    this.#changed = true
    this.#refile ||= refile
  }

  /** Puts another session in its place. */
  put(record: IndexedRecord): void {
    this.#birth = newBirth(this.#birth)
    this.#record = record
    this.touch(true)
  }

  remove(): void {
    this.#record = null
    if (this.version !== null) this.touch()
  }

  /** Removes it, and notes until when and as what it goes on. */
  moveTo(handle: string, until: number): void {
    this.remove()
    this.#successor = { handle, until }
  }

  /** Removes an index entry that does not stand for it any more. */
  removeEntry(key: Buffer): void {
    this.#entries.push(key)
    this.touch()
  }

  /** Asks for all that makes the database hold it as it is now. */
  write({ sessions, indexes, notes }: Database): void {
    const writer: IndexWriter = {
      put: (key) => indexes.put(key, EMPTY),
      remove: (key) => indexes.remove(key)
    }
    for (const key of this.#entries) indexes.remove(key)
    if (this.damage !== null) notes.put(quarantineKey(this.handle), this.damage.bytes, 1)
    if (this.#successor !== null) {
      const { handle, until } = this.#successor
      indexes.put(successorKey(this.handle), encodeSuccessor(handle, until))
      // The reaper finds it there when its time has come.
      indexes.put(expiryKey(until, this.handle), EMPTY)
    }
    const record = this.#record
    if (record === null) {
      if (this.#found !== null) unfileRecord(copyOf(this.#found, IndexedRecord), writer)
      this.#newVersion = null
      if (this.version !== null) sessions.remove(this.key)
      return
    }
    record.indexedAt = this.#found?.indexedAt ?? null
    record.indexedPrincipal = this.#found?.indexedPrincipal ?? null
    fileRecord(record, this.#refile, writer)
    this.#newVersion = nextVersion(this.#birth)
    sessions.put(this.key, encodeRecord(record, this.key), this.#newVersion)
    this.#recent.note(record, this.key, this.#newVersion)
  }

  /** Whether the database has lost again what was written here, as far as can be told. */
  isLost(database: Database): boolean {
    const version = database.versionOf(database.sessions, this.key)
    return this.#newVersion === null ? version !== null : version === this.version
  }

  /** Whether the database holds what was written here, as far as can be told. */
  isStored(database: Database): boolean {
    return database.versionOf(database.sessions, this.key) === this.#newVersion
  }
}
