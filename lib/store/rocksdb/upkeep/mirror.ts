import { META_KEY } from '../../format/keys.js'
import { sideBySide } from '../../side-by-side.js'
import type { RocksDatabase } from '../engine/binding.js'
import { type Entry, readEntries } from '../engine/read-batch.js'

/** At the default limit of 64 KiB a session, the most that one batch takes is 4 MiB. */
const BATCH = 64

/** What making one column family the same as another took. */
export interface MirrorResult {
  /** What the source holds: records and their parts, index entries, quarantined records. */
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
  let changes: [Buffer, Buffer | null][] = []
  let looked = 0
  const inOrder = (one: Entry, other: Entry): number => one.key.compare(other.key)
  for await (const [wanted, present] of sideBySide(entriesOf(source), entriesOf(target), inOrder)) {
    if (wanted === null) {
      result.deleted++
      changes.push([present.key, null])
    } else {
      result.entries++
      if (!present?.value.equals(wanted.value)) {
        result.written++
        changes.push([wanted.key, wanted.value])
      }
    }
    if (++looked % BATCH === 0) check(result)
    if (changes.length < BATCH) continue
    await write(target, changes)
    changes = []
  }
  await write(target, changes)
  check(result)
  return result
}

/** Rejects if there is anything in a column family that cannot be read. */
export async function readThrough(source: RocksDatabase, check: () => void): Promise<void> {
  let looked = 0
  for await (const _ of entriesOf(source)) if (++looked % BATCH === 0) check()
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

/** All entries but the meta entry. Between batches nothing is held open. */
async function* entriesOf(db: RocksDatabase): AsyncGenerator<Entry> {
  let entries: Entry[]
  let last: Buffer = META_KEY
  do {
    entries = await readEntries(db, { gt: last }, BATCH)
    for (const entry of entries) yield entry
    last = entries.at(-1)?.key ?? last
  } while (entries.length === BATCH)
}
