import { RecordCorruptError } from '../../../errors.js'
import {
  handleIn,
  indexRange,
  kindOf,
  recordKey,
  recordRange,
  recordsBehind
} from '../../format/keys.js'
import { decodeRecord, type PartBytes } from '../../format/record-codec.js'
import type { LeftOut, StoreLogger } from '../../session-store.js'
import { leaveOut } from '../../unreadable.js'
import { readExpiryEntry } from '../format/expiry-entry.js'
import { LiveRecord } from '../live-record.js'
import type { RocksDatabase } from './binding.js'
import { type Entry, readEach } from './read-batch.js'
import { readParts } from './read-parts.js'
import { type Gap, Walk } from './walk.js'

/** At the default limit of 64 KiB a session, the most that one batch takes is 2 MiB. */
const BATCH = 32
/** So many keys of a gap are looked for in one walk along the indexes: to sort as many as come takes some ms. */
const KEYS_OF_GAP = 4096
/** An entry of the expiry index names up to 64 sessions. */
const INDEX_WALK = { limit: 32 }

export interface ScanSource {
  readonly db: RocksDatabase
  readonly now: () => number
  readonly log: StoreLogger
  /** The database is about to close: it waits for what reads from it. */
  readonly stopped: () => boolean
  /** Told of each record that cannot be read, as the log is. */
  readonly leftOut: LeftOut
  readonly noteDamage: (error: unknown) => void
}

/**
 * The records that are not past their time, as they are at this moment. Between batches nothing is
 * open but the snapshot, so that a slow reader keeps nobody from closing the database.
 */
export async function* scanRecords(
  source: ScanSource,
  after: string | undefined
): AsyncGenerator<LiveRecord> {
  const db = source.db.snapshot()
  const range = after === undefined ? recordRange() : recordsBehind(after)
  const gaps: Gap[] = []
  const walk = new Walk({ db }, range, { limit: BATCH }, (gap) => gaps.push(gap))
  const check = (): void => {
    if (source.stopped()) throw new Error('the store is closing')
  }
  try {
    for (;;) {
      check()
      const entries = await walk.next()
      for (const gap of gaps.splice(0)) yield* readGap({ ...source, db }, gap, check)
      if (entries.length === 0) return
      for (const record of await decodeEach(entries, { ...source, db })) yield record
    }
  } finally {
    await db.close()
  }
}

/**
 * A damaged block keeps the walk from all files that have keys among its own. The indexes tell
 * which keys those are, and each that lies in another block can be read by itself.
 */
async function* readGap(
  source: ScanSource,
  gap: Gap,
  check: () => void
): AsyncGenerator<LiveRecord> {
  source.noteDamage(gap.error)
  let rest: Gap | null = gap
  while (rest !== null) {
    const { keys, complete } = await firstKeysIn(source, rest, check)
    for (let at = 0; at < keys.length; at += BATCH) {
      check()
      const batch = keys.slice(at, at + BATCH)
      const entries: Entry[] = []
      for (const [index, value] of (await readEach(source.db, batch)).entries()) {
        const key = batch[index] as Buffer
        if (value instanceof Error) leaveOut(handleIn(key), value, source)
        else if (value !== null) entries.push({ key, value })
      }
      for (const record of await decodeEach(entries, source)) yield record
    }
    rest = complete ? null : { ...rest, gt: keys.at(-1) as Buffer }
  }
}

/** The lowest record keys of a gap that an index has, in order. */
async function firstKeysIn(
  { db, leftOut }: ScanSource,
  { gt, gte, lt }: Gap,
  check: () => void
): Promise<{ keys: Buffer[]; complete: boolean }> {
  let keys: Buffer[] = []
  let complete = true
  const shrink = (): void => {
    keys.sort(Buffer.compare)
    keys = keys.filter((key, at) => at === 0 || !key.equals(keys[at - 1] as Buffer))
    if (keys.length > KEYS_OF_GAP) complete = false
    keys.length = Math.min(keys.length, KEYS_OF_GAP)
  }
  // What no index tells of may be missing without a trace.
  const walk = new Walk({ db }, indexRange(), INDEX_WALK, () => leftOut(null))
  for await (const entries of walk) {
    check()
    for (const handle of entries.flatMap(handlesIn)) {
      const wanted = recordKey(handle)
      const above =
        gt === undefined ? gte === undefined || wanted.compare(gte) >= 0 : wanted.compare(gt) > 0
      if (above && wanted.compare(lt) < 0) keys.push(wanted)
    }
    if (keys.length > 2 * KEYS_OF_GAP) shrink()
  }
  shrink()
  return { keys, complete }
}

/** The sessions that an entry of an index names. */
function handlesIn({ key, value }: Entry): readonly string[] {
  return kindOf(key) === 'expiry group' ? readExpiryEntry(key, value).handles : [handleIn(key)]
}

/** The records among these that decode, and are not past their time. */
async function decodeEach(entries: readonly Entry[], source: ScanSource): Promise<LiveRecord[]> {
  const parts = await readParts(source.db, entries)
  const records = entries.map((entry, at) => decode(entry, parts[at] as PartBytes | Error, source))
  return records.filter((record) => record !== null)
}

function decode(
  { key, value }: Entry,
  parts: PartBytes | Error,
  source: ScanSource
): LiveRecord | null {
  const handle = handleIn(key)
  if (parts instanceof Error) {
    if (!(parts instanceof RecordCorruptError)) source.noteDamage(parts)
    leaveOut(handle, parts, source)
    return null
  }
  try {
    const record = decodeRecord(handle, value, key, LiveRecord, parts)
    return record.expiresAt > source.now() ? record : null
  } catch (error) {
    if (!(error instanceof RecordCorruptError)) throw error
    leaveOut(handle, error, source)
    return null
  }
}
