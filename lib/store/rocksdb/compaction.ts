import type { RocksDatabase } from './engine/binding.js'
import { isDamage } from './engine/damage.js'

/** Fewer deletion marks than this are not worth the work. */
const LEAST_DELETIONS = 20_000
/** Of all entries in the files. The garbage on disk stays in proportion to what is alive. */
const DELETED_SHARE = 0.25

/**
 * The pieces in which the column family is compacted, so that closing never waits for more than
 * one. The indexes come first: they are the smallest, and reading them suffers most. The binding
 * takes bounds as text, and UTF-8 begins no character with 0x80 to 0xc1, so this is as evenly as
 * a text can divide what lies under hashes.
 */
const PIECES: [start: string, end: string][] = [
  ['\x02', '\x03'],
  ['\x03', '\x04'],
  ...dividedByHash('\x01', '\x02'),
  ...dividedByHash('\x07', '\x08'),
  ['\x04', '\x05']
]

/**
 * Gives the disk back what deleted sessions took. RocksDB only marks entries as deleted, and
 * drops them, marks included, when it merges files; left to itself it may keep the last million
 * sessions for ever if no others follow them.
 */
export class Compaction {
  readonly #connection: { readonly db: RocksDatabase }
  readonly #stopped: () => boolean
  readonly #onFailure: (error: Error) => void
  #damaged = false
  #running: Promise<void> | null = null

  constructor(
    connection: { readonly db: RocksDatabase },
    stopped: () => boolean,
    onFailure: (error: Error) => void
  ) {
    this.#connection = connection
    this.#stopped = stopped
    this.#onFailure = onFailure
  }

  /** Compacts in the background if enough has been deleted. Resolves when it has decided. */
  async startIfDue(): Promise<void> {
    if (this.#damaged || this.#running !== null || !(await this.#isDue())) return
    this.#running = this.#run().finally(() => {
      this.#running = null
    })
    this.#running.catch((error: Error) => this.#onFailed(error))
  }

  /** Resolves when nothing is under way; rejects if it failed. */
  async settled(): Promise<void> {
    await this.#running
  }

  #onFailed(error: Error): void {
    // After a file that it cannot read RocksDB takes no writes: what brings it there is left alone.
    if (!isDamage(error)) return
    this.#damaged = true
    this.#onFailure(error)
  }

  async #isDue(): Promise<boolean> {
    const properties = await this.#connection.db.getProperty('rocksdb.aggregated-table-properties')
    const entries = numberIn(properties, '# entries')
    const deletions = numberIn(properties, '# deletions')
    return deletions >= LEAST_DELETIONS && deletions >= DELETED_SHARE * entries
  }

  async #run(): Promise<void> {
    for (const [start, end] of PIECES) {
      if (this.#stopped()) return
      await this.#connection.db.compactRange(start, end)
    }
  }
}

/** One number of RocksDB's text `# entries=5; # deletions=2; …`. */
function numberIn(properties: string | undefined, name: string): number {
  const [, digits] = new RegExp(`${name}=(\\d+)`).exec(properties ?? '') ?? []
  return Number(digits ?? 0)
}

function dividedByHash(kind: string, nextKind: string): [string, string][] {
  const hashes = [
    ...['\x10', '\x20', '\x30', '\x40', '\x50', '\x60', '\x70'],
    ...['\u0080', '\u0400', '\u1000', '\u{10000}']
  ]
  const bounds = [kind, ...hashes.map((hash) => kind + hash), nextKind]
  return bounds.slice(1).map((end, at) => [bounds[at] as string, end])
}
