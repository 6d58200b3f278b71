import { compareHandles } from '../../record/handle.js'

/** How many handles a pass over all servers keeps: some 80 MB. */
const MOST_KEPT = 1_000_000
/** One for each two first digits of a handle. */
const BUCKETS = 4096
const BASE = 64

/**
 * All handles in the order of their bytes, in parts of some hundred, though servers give them in
 * none: each pass over all of them keeps the smallest that have not come yet.
 *
 * @param scan makes a pass; what is there all the time comes at least once
 * @param after only those behind this one
 */
export async function* sortedHandles(
  scan: () => AsyncIterable<readonly string[]>,
  after: string | null = null,
  mostKept = MOST_KEPT
): AsyncGenerator<string[]> {
  let from = after === null ? 0 : bucketOf(after)
  while (from < BUCKETS) {
    const smallest = new SmallestHandles(from, mostKept)
    for await (const handles of scan()) for (const handle of handles) smallest.add(handle)
    for (const handles of smallest.sorted()) {
      const behind = handles.filter((handle) => after === null || compareHandles(handle, after) > 0)
      if (behind.length > 0) yield behind
    }
    from = smallest.end
  }
}

/** The handles from one bucket on, up to where there is room for all. */
class SmallestHandles {
  readonly #from: number
  readonly #mostKept: number
  readonly #buckets = new Map<number, Set<string>>()
  #kept = 0
  /** The first bucket that is not here. */
  end = BUCKETS

  constructor(from: number, mostKept: number) {
    this.#from = from
    this.#mostKept = mostKept
  }

  add(handle: string): void {
    const bucket = bucketOf(handle)
    if (bucket < this.#from || bucket >= this.end) return
    let handles = this.#buckets.get(bucket)
    if (handles === undefined) {
      handles = new Set()
      this.#buckets.set(bucket, handles)
    }
    if (handles.has(handle)) return
    handles.add(handle)
    this.#kept++
    while (this.#kept > this.#mostKept && this.end > this.#from + 1) {
      this.end--
      this.#kept -= this.#buckets.get(this.end)?.size ?? 0
      this.#buckets.delete(this.end)
    }
  }

  *sorted(): Generator<string[]> {
    for (let bucket = this.#from; bucket < this.end; bucket++) {
      const handles = this.#buckets.get(bucket)
      if (handles !== undefined) yield [...handles].sort(compareHandles)
    }
  }
}

/** The first twelve bits of the bytes. */
function bucketOf(handle: string): number {
  return DIGITS.indexOf(handle[0] ?? '') * BASE + DIGITS.indexOf(handle[1] ?? '')
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
