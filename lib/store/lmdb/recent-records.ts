import { handleOf } from '../../record/handle.js'
import type { NewRecord } from '../../record/record.js'
import type { IndexedRecord } from '../format/indexed-record.js'
import { decodeRecord } from '../format/record-codec.js'
import type { CacheStats } from '../stats.js'
import type { Database, VersionedBytes } from './engine/database.js'

/** What one takes beside its data, about, in bytes. */
const OVERHEAD = 1024
const MOST_BYTES = 8 * 1024 * 1024

/** A session as it was read or written last. */
export interface Recent {
  readonly key: Buffer
  /** The version that the database has or is to have with it. */
  readonly version: number
  /** As that version says; nobody changes it. */
  readonly record: IndexedRecord
}

class Generation {
  readonly records = new Map<string, Recent>()
  /** Handles by ids. */
  readonly handles = new Map<string, string>()
  bytes = 0

  /** Puts one in the place of what is there, or takes it away. */
  set(handle: string, recent: Recent | null): void {
    const last = this.records.get(handle)
    if (last !== undefined) this.bytes -= OVERHEAD + last.record.size
    if (recent === null) {
      this.records.delete(handle)
      return
    }
    this.records.set(handle, recent)
    this.bytes += OVERHEAD + recent.record.size
  }
}

/**
 * Records that were decoded or encoded a short while ago. Whoever takes one has read the version in
 * the database and found it to be the same, so no change of another process is missed.
 *
 * They are kept in two generations: when the younger one is full, what nobody has asked for since
 * the last time goes.
 */
export class RecentRecords {
  #young = new Generation()
  #old = new Generation()
  /** How often a record that was loaded was here as it is stored, and how often it was not. */
  hits = 0
  misses = 0

  stats(): CacheStats {
    const { hits, misses } = this
    const records = this.#young.records.size + this.#old.records.size
    return { records, bytes: this.#young.bytes + this.#old.bytes, limit: MOST_BYTES, hits, misses }
  }

  get(handle: string): Recent | undefined {
    const young = this.#young.records.get(handle)
    if (young !== undefined) return young
    const old = this.#old.records.get(handle)
    if (old !== undefined) this.#keep(handle, old)
    return old
  }

  /**
   * The record that the database holds under a key, with this version, at this moment.
   *
   * @param recent what is known of its session
   * @throws {RecordCorruptError}
   */
  read(
    database: Database,
    handle: string,
    key: Buffer,
    version: number,
    recent: Recent | undefined
  ): IndexedRecord {
    if (recent?.version === version) {
      this.hits++
      return recent.record
    }
    this.misses++
    const { bytes } = database.read(database.sessions, key) as VersionedBytes
    const record = decodeRecord(handle, bytes, key)
    this.note(record, key, version)
    return record
  }

  /** @param record nobody may change it any more */
  note(record: IndexedRecord, key: Buffer, version: number): void {
    this.#keep(record.handle, { key, version, record })
  }

  /** Apart from the handles, which look the same: who knows a handle must not pass for its visitor. */
  handleOf(id: string): string {
    return this.#young.handles.get(id) ?? this.#old.handles.get(id) ?? handleOf(id)
  }

  /** Of a session that is here, so that what is kept has a bound. */
  noteId(id: string, handle: string): void {
    if (this.#young.handles.has(id)) return
    // A part of a Cookie header would keep all of that header in memory.
    this.#young.handles.set(Buffer.from(id, 'latin1').toString('latin1'), handle)
  }

  #keep(handle: string, recent: Recent): void {
    this.#old.set(handle, null)
    this.#young.set(handle, recent)
    if (this.#young.bytes < MOST_BYTES / 2) return
    this.#old = this.#young
    this.#young = new Generation()
  }
}

/** A copy that its holder may change. */
export function copyOf<T extends IndexedRecord>(
  record: IndexedRecord,
  Kind: new (start: NewRecord) => T
): T {
  const copy = new Kind(record)
  copy.expiry = record.expiry
  copy.principal = record.principal
  copy.metadata = record.metadata
  copy.indexedAt = record.indexedAt
  copy.indexedPrincipal = record.indexedPrincipal
  for (const [key, text] of record.data) copy.data.set(key, text)
  copy.size = record.size
  return copy
}
