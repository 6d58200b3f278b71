import { randomBytes } from 'node:crypto'
import { expiryGroupKey, expiryKey, GROUP_BYTES, indexTime } from '../format/keys.js'
import type { RocksWriteBatch } from './engine/binding.js'
import { encodeGroup } from './format/expiry-entry.js'
import type { LiveRecord } from './live-record.js'

/** As many as the reaper looks at together while visitors write. */
const MOST_HANDLES = 64
/**
 * An entry comes due before its last session by this part of the time that is left at most, and by
 * no more than this many ms: the reaper, which runs each minute, rarely comes in between.
 */
const EARLIEST_PART = 1 / 16
const EARLIEST_MS = 10_000
/** For so many sessions, and as many again, it is remembered with which others they are filed. */
const REMEMBERED = 8192

/** An entry that several sessions share. */
interface Group {
  /** Its key, in Latin-1: as a small Buffer it would keep a whole pool of others in memory. */
  readonly key: string
  /** How many of them have not ended yet, as far as it was seen. */
  left: number
}

/**
 * Files sessions in the expiry index. Those that one batch of writes files share entries, as an
 * operation costs much and its size little. Their deadlines must be near each other: an entry
 * comes due with the first of them, and the others are filed again then.
 *
 * A session that ends leaves its handle in the entry, which goes with the last of its sessions.
 */
export class ExpiryIndex {
  readonly #now: () => number
  #records: LiveRecord[] = []
  #removed: Buffer[] = []
  #young = new Map<string, Group>()
  #old = new Map<string, Group>()
  /** No two entries may have one key, whichever process wrote them. */
  readonly #unique = randomBytes(GROUP_BYTES)

  constructor(now: () => number) {
    this.#now = now
  }

  /** Files a record with the next batch, and nowhere else. */
  file(record: LiveRecord): void {
    this.leave(record)
    this.#records.push(record)
  }

  /** Removes the entry of a record with the next batch, if it has one to itself. */
  leave({ indexedAt, handle }: LiveRecord): void {
    if (indexedAt !== null) this.#removed.push(expiryKey(indexedAt, handle))
  }

  /** Removes an entry with the next batch. */
  remove(key: Buffer): void {
    this.#removed.push(key)
  }

  /** Writes all that was asked for since the last batch, and tells the records where they are. */
  writeTo(batch: RocksWriteBatch): void {
    // What leaves an entry may be what comes into one of the same key.
    const removed = this.#removed
    const records = this.#records
    // First of all: what makes one batch fail must not fail each that follows.
    this.#removed = []
    this.#records = []
    for (const key of removed) batch.tryDelete(key)
    if (records.length === 0) return
    for (const group of together(records, this.#now())) this.#put(group, batch)
  }

  /** Notes that a session has ended. Returns the key of the entry that none is left in, if so. */
  ended(handle: string): Buffer | null {
    const group = this.#young.get(handle) ?? this.#old.get(handle)
    if (group === undefined) return null
    this.#forget(handle)
    group.left--
    return group.left === 0 ? Buffer.from(group.key, 'latin1') : null
  }

  #put(records: readonly LiveRecord[], batch: RocksWriteBatch): void {
    const [first] = records as readonly [LiveRecord]
    const time = indexTime(first.expiresAt)
    for (const record of records) record.indexedAt = time
    if (records.length === 1) {
      batch.tryPut(expiryKey(time, first.handle), EMPTY)
      return
    }
    // Its first bytes change fastest: a walk steps over damage by what keys begin with.
    this.#unique.writeUInt32LE((this.#unique.readUInt32LE() + 1) >>> 0)
    const key = expiryGroupKey(time, this.#unique)
    const handles = records.map(({ handle }) => handle)
    batch.tryPut(key, encodeGroup(handles, key))
    this.#remember(handles, { key: key.toString('latin1'), left: handles.length })
  }

  #remember(handles: readonly string[], group: Group): void {
    if (this.#young.size >= REMEMBERED) {
      this.#old = this.#young
      this.#young = new Map()
    }
    for (const handle of handles) this.#young.set(handle, group)
  }

  #forget(handle: string): void {
    this.#young.delete(handle)
    this.#old.delete(handle)
  }
}

const EMPTY = Buffer.alloc(0)

/** Divides records into those that may share an entry, the first of each being the first due. */
function together(records: LiveRecord[], now: number): LiveRecord[][] {
  records.sort((a, b) => a.expiresAt - b.expiresAt)
  const groups: LiveRecord[][] = []
  let group: LiveRecord[] = []
  let latest = Number.NEGATIVE_INFINITY
  for (const record of records) {
    if (record.expiresAt > latest || group.length === MOST_HANDLES) {
      group = []
      groups.push(group)
      const left = Math.max(0, record.expiresAt - now)
      latest = record.expiresAt + Math.min(EARLIEST_PART * left, EARLIEST_MS)
    }
    group.push(record)
  }
  return groups
}
