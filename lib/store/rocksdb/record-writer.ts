import { StoreUnavailableError } from '../../errors.js'
import { isSaved } from '../../record/notes.js'
import type { SessionRecord } from '../../record/record.js'
import { filePrincipal, type IndexWriter, isFiled } from '../format/indexes.js'
import {
  principalKey,
  quarantinedPartKey,
  quarantineKey,
  recordKey,
  timeIn
} from '../format/keys.js'
import { type Part, type Parts, type PartWriter, removeParts, writeParts } from '../format/parts.js'
import { encodeRecord } from '../format/record-codec.js'
import type { RecordCache } from './cache.js'
import type { RocksWriteBatch } from './engine/binding.js'
import type { GroupCommit, Write } from './engine/group-commit.js'
import type { Entry } from './engine/read-batch.js'
import type { ExpiryIndex } from './expiry-index.js'
import { LiveRecord } from './live-record.js'

/** Who hears of writes. */
export interface WriteListener {
  /** The entry of a record in the expiry index may be on disk. */
  filed(time: number): void
  failed(error: Error): void
}

/** What an import puts a record in the place of. */
export interface Replaced {
  /** What was the live record a moment ago, which its being found keeps in memory. */
  readonly record: LiveRecord | null
  /** The numbers of the parts of one that cannot be read. */
  readonly parts: readonly number[]
}

/** Writes live records together with what they keep apart and their index entries. */
export class RecordWriter {
  readonly #commit: GroupCommit
  readonly #cache: RecordCache
  readonly #index: ExpiryIndex
  readonly #listener: WriteListener

  constructor(
    commit: GroupCommit,
    cache: RecordCache,
    index: ExpiryIndex,
    listener: WriteListener
  ) {
    this.#commit = commit
    this.#cache = cache
    this.#index = index
    this.#listener = listener
  }

  save(record: LiveRecord): Promise<void> {
    if (record.destroyed) return this.ended(record)
    return this.#enqueue(record)
  }

  /** As `save`, unless the record is no longer unchanged when the write goes out. */
  touch(record: LiveRecord, isUnchanged: () => boolean): Promise<void> {
    const { queued, isUnchanged: asked } = record
    const done = this.save(record)
    if (!queued) record.isUnchanged = isUnchanged
    // Each is told, so that none takes it for stored.
    else if (asked !== null) record.isUnchanged = () => [asked(), isUnchanged()].every(Boolean)
    return done
  }

  /** Files a record under its deadline; one that a request is changing by then stays where it is. */
  refile(record: LiveRecord): Promise<void> {
    record.leaves = record.indexedAt
    record.indexedAt = null
    return this.touch(record, () => isSaved(record))
  }

  replace(old: LiveRecord, fresh: LiveRecord): Promise<boolean> {
    if (old.failure !== null) return Promise.reject(old.failure)
    this.#cache.add(fresh)
    const write = this.#asWrite(fresh)
    // One turn, so one group: both or neither.
    this.#commit.add({
      ...write,
      prepare: () => {
        // An earlier write of the old one has failed, and then this one is not made.
        fresh.failure ??= old.failure
        write.prepare()
      }
    })
    return this.destroy(old).then(() => true)
  }

  destroy(record: LiveRecord): Promise<void> {
    record.destroyed = true
    return this.#enqueue(record)
  }

  /**
   * Removes an entry of the expiry index.
   *
   * @param sessions those that it leads to, and that are moved or deleted with the same batch
   */
  removeEntry(key: Buffer, sessions: readonly LiveRecord[] = []): Promise<void> {
    return this.#add(
      () => {
        // What is left out of the batch stays where it is filed.
        if (!sessions.some(isLeftOut)) this.#index.remove(key)
        else this.#listener.filed(timeIn(key))
      },
      () => {}
    )
  }

  /** A session whose end is not durable yet may live on: nobody is told before that is known. */
  async ended(record: LiveRecord): Promise<void> {
    if (record.queued || record.writing > 0) await this.#commit.settled()
    if (record.failure !== null) throw record.failure
  }

  /** Puts a copy of a record in the place of what is stored under its handle. */
  overwrite(record: SessionRecord, { record: found, parts }: Replaced): Promise<void> {
    const evicted = found?.failure === null && !found.destroyed ? found : undefined
    const old = this.#cache.get(record.handle) ?? evicted
    const fresh = new LiveRecord(record)
    fresh.inherit(record, null)
    const known = old?.failure === null ? old : null
    if (old !== undefined) {
      old.failure ??= new StoreUnavailableError('save a session that an import has replaced')
      this.#cache.delete(old)
    }
    const write = this.#asWrite(fresh)
    this.#cache.add(fresh)
    return this.#commit.add({
      ...write,
      prepare: () => {
        // Only now is it certain where the indexes have it: earlier writes are through.
        if (known?.destroyed === true) this.#index.leave(known)
        else fresh.indexedAt = known?.indexedAt ?? null
        fresh.indexedPrincipal = known?.indexedPrincipal ?? null
        fresh.parts = withoutTexts(old === undefined ? unnamed(parts) : partsOf(old))
        write.prepare()
      }
    })
  }

  /**
   * Deletes a record that cannot be read.
   *
   * @param parts the keys of what it keeps apart
   */
  discard(handle: string, principal: string | null, parts: readonly Buffer[]): Promise<void> {
    return this.write((batch) => {
      batch.tryDelete(recordKey(handle))
      for (const key of parts) batch.tryDelete(key)
      if (principal !== null) batch.tryDelete(principalKey(principal, handle))
    })
  }

  /** Moves bytes that do not decode out of the way, with what they keep apart. */
  quarantine(handle: string, bytes: Buffer, key: Buffer, parts: readonly Entry[]): Promise<void> {
    return this.write((batch) => {
      batch.tryPut(quarantineKey(handle), bytes)
      batch.tryDelete(key)
      for (const part of parts) {
        batch.tryPut(quarantinedPartKey(part.key), part.value)
        batch.tryDelete(part.key)
      }
    })
  }

  /** Writes something that belongs to no live record. */
  write(writeTo: (batch: RocksWriteBatch) => void): Promise<void> {
    return this.#add(() => {}, writeTo)
  }

  #add(prepare: () => void, writeTo: (batch: RocksWriteBatch) => void): Promise<void> {
    return this.#commit.add({
      prepare,
      writeTo: (batch) => {
        this.#index.writeTo(batch)
        writeTo(batch)
      },
      settled: (error) => {
        if (error !== null) this.#listener.failed(error)
      }
    })
  }

  #enqueue(record: LiveRecord): Promise<void> {
    if (record.failure !== null) return Promise.reject(record.failure)
    record.isUnchanged = null
    // A new one becomes the live one of its session, and one that was evicted is in use again.
    if (record.ring === null) this.#cache.add(record)
    const done = record.queued ? this.#commit.join() : this.#commit.add(this.#asWrite(record))
    if (record.writing === 0) return done
    // An earlier write of it may yet fail, and then this one is not made.
    return done.then(() => {
      if (record.failure !== null) throw record.failure
    })
  }

  #asWrite(record: LiveRecord): Required<Write> {
    record.queued = true
    return {
      begun: () => begin(record),
      prepare: () => this.#prepare(record),
      writeTo: (batch) => this.#write(record, batch),
      settled: (error) => this.#settled(record, error)
    }
  }

  #prepare(record: LiveRecord): void {
    const { leaves } = record
    record.leaves = null
    if (isLeftOut(record)) {
      record.indexedAt ??= leaves
      return
    }
    if (record.destroyed) this.#index.leave(record)
    else if (!isFiled(record)) this.#index.file(record)
  }

  #write(record: LiveRecord, batch: RocksWriteBatch): void {
    this.#index.writeTo(batch)
    if (isLeftOut(record)) return
    const key = recordKey(record.handle)
    const writer: IndexWriter & PartWriter = {
      put: (entry: Buffer, value: Buffer = EMPTY) => batch.tryPut(entry, value),
      remove: (entry) => batch.tryDelete(entry)
    }
    record.previousParts = record.parts
    if (record.destroyed) {
      batch.tryDelete(key)
      filePrincipal(record, null, writer)
      removeParts(record, writer)
      record.parts = null
      return
    }
    filePrincipal(record, record.principal, writer)
    record.parts = writeParts(record, writer)
    batch.tryPut(key, encodeRecord(record, key, record.parts))
  }

  #settled(record: LiveRecord, error: Error | null): void {
    record.writing--
    // After a failed sync, too, its entry is on disk.
    const { indexedAt, destroyed } = record
    if (indexedAt !== null && !destroyed) this.#listener.filed(indexedAt)
    if (error !== null) {
      this.#listener.failed(error)
      // What is in memory is no longer what is on disk: the next request reads it anew.
      record.failure ??= error
      record.destroyed = false
      // Nor may what takes its place rely on where it was to be filed.
      record.indexedAt = null
      record.indexedPrincipal = null
    } else if (record.writing === 0) record.previousParts = null
    if (record.destroyed || record.failure !== null) {
      // While another write of it is under way, what is on disk may yet change.
      if (!record.pinned) this.#forget(record)
    } else this.#cache.weigh(record)
  }

  #forget(record: LiveRecord): void {
    this.#cache.delete(record)
    if (record.failure !== null || record.indexedAt === null) return
    // Only now that its end is certain may the entry go that it shared.
    const entry = this.#index.ended(record.handle)
    if (entry !== null) this.removeEntry(entry)
  }
}

const EMPTY = Buffer.alloc(0)

function isLeftOut({ failure, destroyed, isUnchanged }: LiveRecord): boolean {
  return failure !== null || (!destroyed && isUnchanged?.() === false)
}

function begin(record: LiveRecord): void {
  record.queued = false
  record.writing++
}

type StoredPart = readonly [name: string, part: Pick<Part, 'number'>]

/** All parts that a record may have, as it is not known yet whether its last write is through. */
function partsOf({ parts, previousParts }: LiveRecord): StoredPart[] {
  return [...(previousParts ?? []), ...(parts ?? [])]
}

/** Whatever they are called: each is written over or deleted. */
function unnamed(numbers: readonly number[]): StoredPart[] {
  return numbers.map((number) => [String(number), { number }])
}

function withoutTexts(parts: readonly StoredPart[]): Parts | null {
  if (parts.length === 0) return null
  return new Map(parts.map(([name, { number }]) => [name, { number, checksum: 0, text: '' }]))
}
