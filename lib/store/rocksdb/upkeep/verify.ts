import { RecordCorruptError } from '../../../errors.js'
import type { IndexedRecord } from '../../format/indexed-record.js'
import {
  dueRange,
  expiryKey,
  handleIn,
  kindOf,
  META_KEY,
  parsePartKey,
  principalKey,
  quarantineKey,
  recordKey,
  recordRange
} from '../../format/keys.js'
import type { PartBytes } from '../../format/record-codec.js'
import {
  DETAILS,
  Findings,
  isNamedBy,
  isPartOf,
  type ProblemKind,
  tryDecode,
  tryOutline,
  type Verification
} from '../../verification.js'
import type { RocksDatabase } from '../engine/binding.js'
import { isUnreadable } from '../engine/damage.js'
import { type Entry, readEach } from '../engine/read-batch.js'
import { readParts } from '../engine/read-parts.js'
import { type Gap, Walk } from '../engine/walk.js'
import { readExpiryEntry } from '../format/expiry-entry.js'
import { FORMAT_VERSION } from '../format/meta.js'

/** Small enough that one batch of the largest records does not hold up the event loop. */
const BATCH = 32
/**
 * Looks at each key of a column family, changes nothing, and reports whether records decode and
 * whether the indexes agree with them. It sees one moment of the database, so it may run while
 * sessions are in use, and costs a read of everything; it yields between small batches.
 *
 * @param progress called after each batch with what has been found so far
 * @param damage what was wrong with the write-ahead log when the database was opened
 */
export async function verify(
  db: RocksDatabase,
  progress: (soFar: Readonly<Verification>) => void = () => {},
  damage: string | null = null
): Promise<Verification> {
  const view = db.snapshot()
  try {
    return await new Verifier(view, progress).run(damage)
  } finally {
    await view.close()
  }
}

class Verifier {
  readonly #view: RocksDatabase
  readonly #progress: (soFar: Readonly<Verification>) => void
  readonly #findings = new Findings()
  readonly #found = this.#findings.found
  /** The sessions that must be in a group, without those that are in the one that they name. */
  readonly #inGroups = new HandleSet()
  readonly #gaps: Gap[] = []

  constructor(view: RocksDatabase, progress: (soFar: Readonly<Verification>) => void) {
    this.#view = view
    this.#progress = progress
  }

  async run(damage: string | null): Promise<Verification> {
    if (damage !== null) {
      const problem = `the write-ahead log is damaged, and what follows is not seen here: ${damage}`
      this.#findings.report('unreadable', null, problem)
    }
    try {
      if (await this.#checkFormat()) await this.#checkAll()
    } catch (error) {
      if (!isUnreadable(error)) throw error
      this.#findings.report(
        'unreadable',
        null,
        `RocksDB cannot read on: ${(error as Error).message}`
      )
    }
    return this.#found
  }

  /** Below the checksum of our records, RocksDB has its own for each block of a file. */
  #reportGap(gap: Gap): void {
    const { gt, gte, error } = gap
    this.#gaps.push(gap)
    const kind = kindOf(gt ?? gte ?? META_KEY)
    const reason = (error as Error).message
    this.#findings.report(
      'unreadable',
      null,
      `RocksDB cannot read a block behind a ${kind}: ${reason}`
    )
  }

  /** Resolves to whether the rest is in a format that this version can judge. */
  async #checkFormat(): Promise<boolean> {
    const [meta = null] = await readEach(this.#view, [META_KEY])
    const format = Buffer.isBuffer(meta) ? formatIn(meta) : null
    this.#found.format = format
    if (format === null) {
      this.#findings.report(
        'format',
        null,
        'the key 0x00, which names the format, is missing or unreadable'
      )
    } else if (format > FORMAT_VERSION) {
      this.#findings.report('format', null, `format ${format} is newer than this version knows`)
      return false
    }
    return true
  }

  async #checkAll(): Promise<void> {
    const walk = new Walk({ db: this.#view }, ALL_KEYS, { limit: BATCH }, (gap) =>
      this.#reportGap(gap)
    )
    for await (const entries of walk) await this.#checkBatch(entries)
    if (!this.#inGroups.isEmpty) await this.#findUnfiled()
    this.#progress(this.#found)
  }

  /** Looks for the group of each record, which is only worth its time if some have none. */
  async #findUnfiled(): Promise<void> {
    for await (const entries of new Walk({ db: this.#view }, recordRange(), { limit: BATCH })) {
      await Promise.all(
        entries.map(async ({ key, value }) => {
          const record = tryOutline(handleIn(key), value)
          if (!(record instanceof Error || (await this.#isFiled(record)))) {
            this.#report('missing-expiry-entry', record.handle)
          }
        })
      )
    }
  }

  async #isFiled({ handle, indexedAt }: IndexedRecord): Promise<boolean> {
    const range = dueRange(indexedAt ?? 0, indexedAt ?? 0)
    // Its entry may be what cannot be read, and that is reported already.
    if (this.#gaps.some((gap) => overlap(gap, range))) return true
    for await (const entries of new Walk({ db: this.#view }, range, { limit: BATCH })) {
      for (const { key, value } of entries) {
        if (readExpiryEntry(key, value).handles.includes(handle)) return true
      }
    }
    return false
  }

  async #checkBatch(entries: Entry[]): Promise<void> {
    // Side by side, so that their look-ups are few.
    await Promise.all([
      this.#checkRecords(entries.filter(({ key }) => kindOf(key) === 'record')),
      this.#checkIndex(entries.filter(({ key }) => INDEXES.has(kindOf(key)))),
      this.#checkParts(entries.filter(({ key }) => kindOf(key) === 'part')),
      this.#checkGroups(entries.filter(({ key }) => kindOf(key) === 'expiry group'))
    ])
    for (const { key } of entries) {
      const kind = kindOf(key)
      if (kind === 'quarantine') this.#found.quarantined++
      // Leases and successors are for stores that several processes write to.
      if (kind === 'unknown' || kind === 'lease' || kind === 'successor') {
        this.#findings.report(
          'unknown-key',
          null,
          `a key of ${key.length} bytes under 0x${firstByte(key)}`
        )
      }
    }
    this.#progress(this.#found)
  }

  async #checkRecords(entries: Entry[]): Promise<void> {
    const expected: { record: IndexedRecord; kind: ProblemKind; key: Buffer }[] = []
    const parts = await readParts(this.#view, entries)
    for (const [index, { key, value }] of entries.entries()) {
      this.#found.records++
      const handle = handleIn(key)
      const apart = parts[index] as PartBytes | Error
      const whole = apart instanceof Error ? apart : tryDecode(handle, value, key, apart)
      if (whole instanceof Error) {
        const kind = whole instanceof RecordCorruptError ? 'corrupt-record' : 'unreadable'
        this.#findings.report(kind, handle, whole.message)
      }
      // Where it is filed does not depend on what it keeps apart.
      const record = whole instanceof Error ? tryOutline(handle, value) : whole
      if (record instanceof Error) continue
      const { indexedAt, principal } = record
      const filed = expiryKey(indexedAt ?? 0, handle)
      expected.push({ record, kind: 'missing-expiry-entry', key: filed })
      if (principal === null) continue
      expected.push({
        record,
        kind: 'missing-principal-entry',
        key: principalKey(principal, handle)
      })
    }
    const values = await readEach(
      this.#view,
      expected.map(({ key }) => key)
    )
    for (const [index, { record, kind }] of expected.entries()) {
      if (values[index] !== null) continue
      if (kind === 'missing-expiry-entry') this.#inGroups.toggle(record.handle)
      else this.#report(kind, record.handle)
    }
  }

  async #checkGroups(entries: Entry[]): Promise<void> {
    for (const { key, value } of entries) {
      this.#found.expiryEntries++
      const { time, handles, sound } = readExpiryEntry(key, value)
      if (!sound) this.#report('corrupt-expiry-entry', null)
      for (let at = 0; at < handles.length; at += BATCH) {
        await this.#checkNamed(handles.slice(at, at + BATCH), time)
      }
    }
  }

  /** What a group names may be gone, or filed elsewhere: a handle stays until its entry goes. */
  async #checkNamed(handles: readonly string[], time: number): Promise<void> {
    for (const [at, bytes] of (await readEach(this.#view, handles.map(recordKey))).entries()) {
      const handle = handles[at] as string
      if (bytes instanceof Error) this.#reportUnreadable(handle, bytes)
      if (!Buffer.isBuffer(bytes)) continue
      const record = tryOutline(handle, bytes)
      if (!(record instanceof Error) && record.indexedAt === time) this.#inGroups.toggle(handle)
    }
  }

  #report(kind: ProblemKind, handle: string | null): void {
    this.#findings.report(kind, handle, DETAILS[kind])
  }

  #reportUnreadable(handle: string, { message }: Error): void {
    this.#findings.report('unreadable', handle, `its record: ${message}`)
  }

  async #checkIndex(entries: Entry[]): Promise<void> {
    const handles = entries.map(({ key }) => handleIn(key))
    const values = await readEach(this.#view, handles.map(recordKey))
    for (const [index, { key }] of entries.entries()) {
      const handle = handles[index] as string
      const expiry = kindOf(key) === 'expiry'
      if (expiry) this.#found.expiryEntries++
      else this.#found.principalEntries++
      const bytes = values[index] ?? null
      if (bytes instanceof Error) {
        // Each is in this index, and in that of users only some.
        if (expiry) this.#reportUnreadable(handle, bytes)
        continue
      }
      if (bytes === null ? await this.#isQuarantined(handle) : isNamedBy(bytes, handle, key))
        continue
      const kind = expiry ? 'stray-expiry-entry' : 'stray-principal-entry'
      this.#report(kind, handle)
    }
  }

  async #checkParts(entries: Entry[]): Promise<void> {
    const handles = entries.map(({ key }) => parsePartKey(key).handle)
    const values = await readEach(this.#view, handles.map(recordKey))
    this.#found.parts += entries.length
    for (const [index, { key }] of entries.entries()) {
      const handle = handles[index] as string
      const bytes = values[index] ?? null
      // What cannot be read is reported where the expiry index has it.
      if (bytes instanceof Error || (bytes !== null && isPartOf(bytes, handle, key))) continue
      this.#findings.report('stray-part', handle, DETAILS['stray-part'])
    }
  }

  /** Quarantine takes the record alone: bytes that do not decode do not say how they are indexed. */
  async #isQuarantined(handle: string): Promise<boolean> {
    const [bytes = null] = await readEach(this.#view, [quarantineKey(handle)])
    return bytes !== null
  }
}

/**
 * Tells whether all that was put into it was taken out again, at the cost of no memory. Handles are
 * hashes, so that others are as good as never the same together.
 */
class HandleSet {
  #first = 0
  #second = 0

  /** Takes out what is in, and puts in what is not. */
  toggle(handle: string): void {
    const bytes = Buffer.from(handle, 'base64url')
    this.#first ^= bytes.readInt32BE(0)
    this.#second ^= bytes.readInt32BE(4)
  }

  get isEmpty(): boolean {
    return this.#first === 0 && this.#second === 0
  }
}

const ALL_KEYS = { gte: META_KEY, lt: Buffer.alloc(66, 0xff) }
const INDEXES = new Set(['expiry', 'principal'])

/** Whether a gap begins before a range ends, and the other way round. */
function overlap(
  { gt, gte, lt }: Gap,
  range: { readonly gte: Buffer; readonly lt: Buffer }
): boolean {
  return (gt ?? gte ?? META_KEY).compare(range.lt) < 0 && range.gte.compare(lt) < 0
}

function formatIn(meta: Buffer): number | null {
  try {
    const { format } = JSON.parse(meta.toString()) as { format: unknown }
    return Number.isSafeInteger(format) ? (format as number) : null
  } catch {
    return null
  }
}

function firstByte(key: Buffer): string {
  return key.subarray(0, 1).toString('hex')
}
