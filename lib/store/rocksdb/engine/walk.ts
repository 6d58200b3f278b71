import type { RocksDatabase } from './binding.js'
import { isUnreadable } from './damage.js'
import { type Entry, readEntries } from './read-batch.js'

/** A range of keys in walking order; both bounds are optional for RocksDB, and needed here. */
export interface KeyRange {
  readonly gt?: Buffer
  readonly gte?: Buffer
  readonly lt: Buffer
}

/** A stretch of keys that cannot be read in order, for a damaged block lies in it. */
export interface Gap {
  /** What is behind this key, and before `lt`, was stepped over. */
  readonly gt?: Buffer
  readonly gte?: Buffer
  readonly lt: Buffer
  readonly error: unknown
}

export interface WalkOptions {
  /** How many entries one piece has at most. */
  readonly limit: number
  /** Default true. */
  readonly values?: boolean
}

/**
 * The entries of a range in order, in pieces. RocksDB's own walk ends at the first block that it
 * cannot read; this one looks for the next key that it can, and goes on there. Between pieces
 * nothing is open.
 *
 * A gap is what RocksDB cannot show in order: the last entry before the block, and those that lie
 * between its keys in other files, can still be read by their keys.
 */
export class Walk {
  readonly #source: { readonly db: RocksDatabase }
  readonly #options: WalkOptions
  readonly #onGap: (gap: Gap) => void
  #range: KeyRange | null

  /** @param source asked for its database at each piece, as it may be opened anew between two */
  constructor(
    source: { readonly db: RocksDatabase },
    range: KeyRange,
    options: WalkOptions,
    onGap: (gap: Gap) => void = () => {}
  ) {
    this.#source = source
    this.#range = range
    this.#options = options
    this.#onGap = onGap
  }

  /** Whether nothing follows. */
  get ended(): boolean {
    return this.#range === null
  }

  /** The next entries; none at the end. */
  async next(limit = this.#options.limit): Promise<Entry[]> {
    while (this.#range !== null) {
      const entries = await this.#read(limit)
      if (entries.length > 0) return entries
    }
    return []
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Entry[]> {
    for (let piece = await this.next(); piece.length > 0; piece = await this.next()) yield piece
  }

  /** One piece, which may be empty before a gap. */
  async #read(limit: number): Promise<Entry[]> {
    const range = this.#range as KeyRange
    const { db } = this.#source
    for (let size = limit; ; size = size >> 1) {
      try {
        const entries = await readEntries(db, range, size, this.#options)
        const last = entries.at(-1)
        if (last === undefined || entries.length < size) this.#range = null
        else this.#range = { gt: last.key, lt: range.lt }
        return entries
      } catch (error) {
        if (!isUnreadable(error)) throw error
        if (size > 1) continue
        await this.#stepOver(range, error)
        return []
      }
    }
  }

  async #stepOver(range: KeyRange, error: unknown): Promise<void> {
    const behind = await firstReadable(this.#source.db, range)
    this.#onGap({ ...range, lt: behind ?? range.lt, error })
    this.#range = behind === null ? null : { gte: behind, lt: range.lt }
  }
}

/** So many bytes behind what all keys of a range have in common tell its keys apart. */
const TELLING_BYTES = 9

/**
 * Where a walk can go on behind a place that it cannot read: ever longer steps until one gets
 * there, then halves, down to the first key. `null` if nothing in the range can be read any more.
 */
async function firstReadable(db: RocksDatabase, range: KeyRange): Promise<Buffer | null> {
  const start = startOf(range)
  const width = commonLength(start, range.lt) + TELLING_BYTES
  const from = numberOf(start, width)
  const end = numberOf(range.lt, width)
  const isReadable = async (at: bigint): Promise<boolean> => {
    try {
      await readEntries(db, { gte: keyOf(at, width), lt: range.lt }, 1, { values: false })
      return true
    } catch (error) {
      if (isUnreadable(error)) return false
      throw error
    }
  }
  let unreadable = from
  let readable = end
  for (let step = 1n; from + step < end; step += (step >> 1n) + 1n) {
    if (await isReadable(from + step)) {
      readable = from + step
      break
    }
    unreadable = from + step
  }
  while (readable - unreadable > 1n) {
    const middle = (readable + unreadable) >> 1n
    if (await isReadable(middle)) readable = middle
    else unreadable = middle
  }
  return readable >= end ? null : keyOf(readable, width)
}

function startOf({ gt, gte }: KeyRange): Buffer {
  return gt ?? gte ?? Buffer.alloc(0)
}

function commonLength(a: Buffer, b: Buffer): number {
  let length = 0
  while (length < a.length && a[length] === b[length]) length++
  return length
}

function numberOf(key: Buffer, width: number): bigint {
  const padded = Buffer.alloc(width)
  key.copy(padded, 0, 0, width)
  return BigInt(`0x${padded.toString('hex')}`)
}

function keyOf(number: bigint, width: number): Buffer {
  return Buffer.from(number.toString(16).padStart(2 * width, '0'), 'hex')
}
