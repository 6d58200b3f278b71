import { META_KEY } from '../../format/keys.js'
import type { RocksDatabase } from '../engine/binding.js'
import { type Entry, readEntries } from '../engine/read-batch.js'

/** At the default limit of 64 KiB a session, the most that one batch takes is 4 MiB. */
const BATCH = 64

/** What making one column family the same as another took. */
export interface MirrorResult {
  /** What the source holds: records, index entries, quarantined records. */
  entries: number
  written: number
  deleted: number
}

/**
 * Makes `target` hold what `source` holds, and writes only what differs: one walk along both,
 * since both are in order. The meta entry is left to the caller.
 *
 * @param check called between batches; what it throws ends the walk
 */
export async function mirror(
  source: RocksDatabase,
  target: RocksDatabase,
  check: (soFar: MirrorResult) => void
): Promise<MirrorResult> {
  const result: MirrorResult = { entries: 0, written: 0, deleted: 0 }
  const wanted = new Cursor(source)
  const present = new Cursor(target)
  let changes: [Buffer, Buffer | null][] = []
  for (;;) {
    await Promise.all([wanted.fill(), present.fill()])
    if (result.entries > 0) check(result)
    // Until one of them has to read on.
    while (wanted.ready && present.ready && !(wanted.atEnd && present.atEnd)) {
      const change = step(wanted, present, result)
      if (change !== null) changes.push(change)
    }
    const done = wanted.atEnd && present.atEnd
    if (changes.length < BATCH && !done) continue
    await write(target, changes)
    changes = []
    if (!done) continue
    check(result)
    return result
  }
}

/** Rejects if there is anything in a column family that cannot be read. */
export async function readThrough(source: RocksDatabase, check: () => void): Promise<void> {
  const all = new Cursor(source)
  for (await all.fill(); !all.atEnd; await all.fill()) {
    check()
    while (all.head !== null) all.take()
  }
}

/** Moves past the lower of two keys, or past both if they are the same. */
function step(
  wanted: Cursor,
  present: Cursor,
  result: MirrorResult
): [Buffer, Buffer | null] | null {
  const order = compare(wanted.head, present.head)
  const has = order >= 0 ? present.take() : null
  if (order > 0 && has !== null) {
    result.deleted++
    return [has.key, null]
  }
  const entry = wanted.take()
  if (entry === null) return null
  result.entries++
  if (has?.value.equals(entry.value) === true) return null
  result.written++
  return [entry.key, entry.value]
}

/** The end comes behind every key. */
function compare(a: Entry | null, b: Entry | null): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null)
  return a.key.compare(b.key)
}

async function write(db: RocksDatabase, changes: [Buffer, Buffer | null][]): Promise<void> {
  if (changes.length === 0) return
  const batch = db.write({ capacity: changes.length, autoDestroy: true })
  for (const [key, value] of changes) {
    if (value === null) batch.tryDelete(key)
    else batch.tryPut(key, value)
  }
  await batch.flush()
}

/** A walk along all entries. Between batches it holds nothing open. */
class Cursor {
  readonly #db: RocksDatabase
  #entries: Entry[] = []
  #at = 0
  #last: Buffer = META_KEY
  #ended = false

  constructor(db: RocksDatabase) {
    this.#db = db
  }

  /** The entry that comes next; `null` at the end, or if it has yet to be read. */
  get head(): Entry | null {
    return this.#entries[this.#at] ?? null
  }

  get atEnd(): boolean {
    return this.head === null && this.#ended
  }

  /** Whether it is known what comes next. */
  get ready(): boolean {
    return this.head !== null || this.#ended
  }

  take(): Entry | null {
    const entry = this.head
    if (entry !== null) this.#at++
    return entry
  }

  async fill(): Promise<void> {
    if (this.head !== null || this.#ended) return
    const entries = await readEntries(this.#db, { gt: this.#last }, BATCH)
    this.#last = entries.at(-1)?.key ?? this.#last
    this.#ended = entries.length < BATCH
    this.#entries = entries
    this.#at = 0
  }
}
