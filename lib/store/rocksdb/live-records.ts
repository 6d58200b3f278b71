import { RecordCorruptError } from '../../errors.js'
import { handleOf, isHandle } from '../../record/handle.js'
import { recordKey } from '../format/keys.js'
import { decodeRecord, partKeysOf } from '../format/record-codec.js'
import type { RecordCache } from './cache.js'
import type { WholeRecord } from './engine/record-reader.js'
import { LiveRecord } from './live-record.js'

/** What live records are read by. */
export interface RecordSource {
  readonly now: () => number
  /** Resolves when a session that is being ended has ended; rejects if it lives on. */
  ended(record: LiveRecord): Promise<void>
  /** @throws {StoreDamagedError} if that place of a file is damaged */
  read(key: Buffer): Promise<Buffer | null>
  /** A record and what it keeps apart, whatever is written meanwhile. */
  readWhole(key: Buffer): Promise<WholeRecord | null>
  /** Keeps the bytes for a person to look at, out of the way of every visitor. */
  quarantine(handle: string, bytes: Buffer, key: Buffer, reason: Error): Promise<void>
}

/**
 * The live records: one object stands for a session for as long as anybody has it, so that what
 * one request changes, all others see. They come from memory, or else from disk.
 */
export class LiveRecords {
  readonly #cache: RecordCache
  readonly #source: RecordSource
  readonly #finding = new Map<string, Promise<LiveRecord | null>>()

  constructor(cache: RecordCache, source: RecordSource) {
    this.#cache = cache
    this.#source = source
  }

  /** By id it costs no hash, if it was asked for by that again since it came. */
  load(id: string): LiveRecord | null | Promise<LiveRecord | null> {
    const known = this.#cache.getById(id)
    if (known !== undefined && !this.#isEnding(known)) return this.#again(known)
    const handle = handleOf(id)
    const record = this.#cache.get(handle)
    if (record === undefined) return this.#bring(handle)
    if (this.#isEnding(record)) return this.#loadEnding(record)
    this.#cache.nameId(record, id)
    return this.#again(record)
  }

  loadByHandle(handle: string): LiveRecord | null | Promise<LiveRecord | null> {
    const record = this.#cache.get(handle)
    if (record === undefined) return isHandle(handle) ? this.#bring(handle) : null
    return this.#isEnding(record) ? this.#loadEnding(record) : this.#again(record)
  }

  /** What is in memory. */
  recall(handle: string): LiveRecord | undefined {
    const record = this.#cache.get(handle)
    if (record !== undefined) return record
    // What is packed is found by bytes, for which another text may stand as well.
    return isHandle(handle) ? this.#cache.recall(handle) : undefined
  }

  /** The live record, whether it is past its time or not. */
  find(handle: string): Promise<LiveRecord | null> {
    const known = this.recall(handle)
    if (known?.failure === null) return Promise.resolve(known)
    if (known !== undefined) return this.#findAnew(known)
    return isHandle(handle) ? this.#fetchOnce(handle) : Promise.resolve(null)
  }

  /** A copy of what is stored, which stands for nothing. */
  async read(handle: string): Promise<LiveRecord | null> {
    const key = recordKey(handle)
    const bytes = await this.#source.read(key)
    if (bytes === null) return null
    if (partKeysOf(handle, bytes, key).length === 0) {
      return decodeRecord(handle, bytes, key, LiveRecord)
    }
    const whole = await this.#source.readWhole(key)
    return whole === null ? null : decodeRecord(handle, whole.bytes, key, LiveRecord, whole.parts)
  }

  /** What is stored in place of an object that has failed, when that has no write under way. */
  async #findAnew(failed: LiveRecord): Promise<LiveRecord | null> {
    await this.#source.ended(failed).catch(() => {})
    return this.find(failed.handle)
  }

  /** For a visitor, a record that is no object in memory. */
  #bring(handle: string): LiveRecord | null | Promise<LiveRecord | null> {
    const record = this.#cache.recall(handle)
    if (record !== undefined) {
      this.#cache.hits++
      return this.#isEnding(record) ? this.#loadEnding(record) : this.#first(record)
    }
    this.#cache.misses++
    return this.#fetchOnce(handle).then((found) => {
      if (found === null) return null
      return this.#isEnding(found) ? this.#loadEnding(found) : this.#first(found)
    })
  }

  #isEnding({ destroyed, failure }: LiveRecord): boolean {
    return destroyed || failure !== null
  }

  /** Whether it is gone shows when that is durable. */
  async #loadEnding(record: LiveRecord): Promise<LiveRecord | null> {
    await this.#source.ended(record).catch(() => {})
    return record.failure === null ? null : this.loadByHandle(record.handle)
  }

  /** For a visitor, of a record that has been here before the visit. */
  #again(record: LiveRecord): LiveRecord | null {
    this.#cache.hits++
    if (record.expiresAt <= this.#source.now()) return null
    record.used = true
    return record
  }

  /** For the visitor whose visit brought it here. */
  #first(record: LiveRecord): LiveRecord | null {
    if (record.expiresAt <= this.#source.now()) return null
    record.asked = true
    return record
  }

  /** All who ask at one time share one read, and with it one object. */
  #fetchOnce(handle: string): Promise<LiveRecord | null> {
    let finding = this.#finding.get(handle)
    if (finding === undefined) {
      finding = this.#fetch(handle).finally(() => this.#finding.delete(handle))
      this.#finding.set(handle, finding)
    }
    return finding
  }

  async #fetch(handle: string): Promise<LiveRecord | null> {
    const key = recordKey(handle)
    const bytes = await this.#source.read(key)
    const found = bytes === null ? null : await this.#decode(handle, bytes, key)
    // An import may have been here first.
    const known = this.recall(handle)
    if (known !== undefined) return known
    if (bytes === null || found === null) return null
    if (found instanceof LiveRecord) {
      this.#cache.add(found)
      return found
    }
    await this.#source.quarantine(handle, bytes, key, found)
    return null
  }

  /** Nobody writes what is not in memory, so a record and what it keeps apart belong together. */
  async #decode(handle: string, bytes: Buffer, key: Buffer): Promise<LiveRecord | Error> {
    try {
      const keys = partKeysOf(handle, bytes, key)
      if (keys.length === 0) return decodeRecord(handle, bytes, key, LiveRecord)
      const parts = await Promise.all(keys.map((part) => this.#source.read(part)))
      return decodeRecord(handle, bytes, key, LiveRecord, parts)
    } catch (error) {
      if (error instanceof RecordCorruptError) return error
      throw error
    }
  }
}
