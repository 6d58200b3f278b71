import { nextTurn } from '../../timers.js'
import {
  expiryKey,
  handleIn,
  kindOf,
  META_KEY,
  parseExpiryKey,
  principalKey,
  quarantineKey,
  recordKey,
  successorKey
} from '../format/keys.js'
import { parseMeta } from '../format/meta.js'
import {
  DETAILS,
  Findings,
  isNamedBy,
  type ProblemKind,
  tryDecode,
  type Verification
} from '../verification.js'
import type { Database, Snapshot } from './engine/database.js'
import { FORMAT_VERSION } from './format.js'

/** Small enough that one batch of the largest records does not hold up the event loop. */
const BATCH = 32
const FIRST_KEY = Buffer.from([0])

/**
 * Looks at everything stored, changes nothing, and reports whether records decode and whether the
 * indexes agree with them. It sees one moment of the database, so it may run while sessions are in
 * use; what is deleted meanwhile keeps its space until it is done.
 *
 * @param progress called after each batch with what has been found so far
 */
export async function verify(
  database: Database,
  progress: (soFar: Readonly<Verification>) => void = () => {}
): Promise<Verification> {
  const snapshot = database.snapshot()
  try {
    return await new Verifier(snapshot, progress).run()
  } finally {
    snapshot.end()
  }
}

class Verifier {
  readonly #snapshot: Snapshot
  readonly #progress: (soFar: Readonly<Verification>) => void
  readonly #findings = new Findings()
  readonly #found = this.#findings.found

  constructor(snapshot: Snapshot, progress: (soFar: Readonly<Verification>) => void) {
    this.#snapshot = snapshot
    this.#progress = progress
  }

  async run(): Promise<Verification> {
    const meta = this.#snapshot.get('notes', META_KEY)
    const format = meta === null ? null : (parseMeta(meta)?.format ?? null)
    this.#found.format = format
    if (format === null) {
      this.#findings.report(
        'format',
        null,
        'the entry that names the format is missing or unreadable'
      )
    } else if (format > FORMAT_VERSION) {
      this.#findings.report('format', null, `format ${format} is newer than this version knows`)
      return this.#found
    }
    await this.#walk('sessions', (key, value) => this.#checkRecord(key, value))
    await this.#walk('indexes', (key) => this.#checkEntry(key))
    await this.#walk('notes', (key) => this.#checkNote(key))
    return this.#found
  }

  async #walk(
    table: 'sessions' | 'indexes' | 'notes',
    check: (key: Buffer, value: Buffer) => void
  ): Promise<void> {
    let start: Buffer = FIRST_KEY
    for (let exclusiveStart = false; ; exclusiveStart = true) {
      const entries = this.#snapshot.entries(table, { start, exclusiveStart, limit: BATCH })
      for (const { key, value } of entries) check(key, value)
      this.#progress(this.#found)
      const last = entries.at(-1)
      if (last === undefined || entries.length < BATCH) return
      start = last.key
      await nextTurn()
    }
  }

  #checkRecord(key: Buffer, value: Buffer): void {
    if (kindOf(key) !== 'record') {
      this.#reportUnknown(key)
      return
    }
    this.#found.records++
    const handle = handleIn(key)
    const record = tryDecode(handle, value, key)
    if (record instanceof Error) {
      this.#findings.report('corrupt-record', handle, record.message)
      return
    }
    this.#expect(expiryKey(record.indexedAt ?? 0, handle), handle, 'missing-expiry-entry')
    if (record.principal === null) return
    this.#expect(principalKey(record.principal, handle), handle, 'missing-principal-entry')
  }

  #expect(key: Buffer, handle: string, kind: ProblemKind): void {
    if (this.#snapshot.get('indexes', key) === null) {
      this.#findings.report(kind, handle, DETAILS[kind])
    }
  }

  #checkEntry(key: Buffer): void {
    const kind = kindOf(key)
    const handle = handleIn(key)
    if (kind === 'successor') return
    if (kind === 'expiry') this.#found.expiryEntries++
    else if (kind === 'principal') this.#found.principalEntries++
    else {
      this.#reportUnknown(key)
      return
    }
    const bytes = this.#snapshot.get('sessions', recordKey(handle))
    if (bytes !== null && isNamedBy(bytes, handle, key)) return
    if (kind === 'expiry' && this.#isOfSuccessor(key)) return
    // Quarantine takes the record alone: bytes that do not decode do not say how they are indexed.
    if (bytes === null && this.#snapshot.get('notes', quarantineKey(handle)) !== null) return
    const problem = kind === 'expiry' ? 'stray-expiry-entry' : 'stray-principal-entry'
    this.#findings.report(problem, handle, DETAILS[problem])
  }

  /** What a session that was renewed goes on as has an entry for when that is forgotten. */
  #isOfSuccessor(key: Buffer): boolean {
    const { expiresAt, handle } = parseExpiryKey(key)
    const bytes = this.#snapshot.get('indexes', successorKey(handle))
    return bytes !== null && Math.ceil(bytes.readDoubleBE(0)) === expiresAt
  }

  #checkNote(key: Buffer): void {
    const kind = kindOf(key)
    if (kind === 'quarantine') this.#found.quarantined++
    else if (kind !== 'meta' && kind !== 'lease') this.#reportUnknown(key)
  }

  #reportUnknown(key: Buffer): void {
    const first = key.subarray(0, 1).toString('hex')
    this.#findings.report('unknown-key', null, `a key of ${key.length} bytes under 0x${first}`)
  }
}
