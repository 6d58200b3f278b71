import { randomBytes } from 'node:crypto'

const WRITER_LENGTH = 6
const TIME_LENGTH = 9
const TIME_RADIX = 36
/** In characters. */
export const MARK_LENGTH = WRITER_LENGTH + TIME_LENGTH
/** Of so many writers at most a session remembers the last mark. */
export const MOST_WRITERS = 8
/** In ms; longer than any client tries to send a command again. */
const REMEMBERED = 60_000

/**
 * The marks that writes leave behind. A client that lost its connection sends a command again which
 * the server may have run; by the mark that is seen, whoever has written since. As one store
 * has no more than one write of a session under way, its last mark is enough.
 *
 * A mark is the writer's name, which is random, and the time of the write, which never repeats.
 */
export class WriteMarks {
  readonly #writer = randomBytes(WRITER_LENGTH).toString('base64url').slice(0, WRITER_LENGTH)
  readonly #now: () => number
  #last = 0

  constructor(now: () => number) {
    this.#now = now
  }

  /** The marks of what is written next in the place of this, the newest first. */
  after(marks: readonly string[]): readonly [string, ...string[]] {
    const now = Math.max(0, Math.floor(this.#now()))
    this.#last = Math.max(this.#last + 1, now)
    const time = this.#last.toString(TIME_RADIX).padStart(TIME_LENGTH, '0')
    const [last] = marks
    // The clock of who wrote last may be behind.
    const since = Math.min(now, last === undefined ? now : timeOf(last)) - REMEMBERED
    const remembered = marks.filter(
      (mark) => !mark.startsWith(this.#writer) && timeOf(mark) > since
    )
    return [this.#writer + time, ...remembered.slice(0, MOST_WRITERS - 1)]
  }
}

function timeOf(mark: string): number {
  return Number.parseInt(mark.slice(WRITER_LENGTH), TIME_RADIX)
}
