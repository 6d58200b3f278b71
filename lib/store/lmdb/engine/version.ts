import { randomFillSync } from 'node:crypto'

/**
 * Versions are the eight bytes before a value, which LMDB's binding compares as a double. The upper
 * half says which session this is of all that had its handle, so that one that was replaced is told
 * from its successor; the lower half differs with each write of any process.
 */
const words = new Uint32Array(2)
const double = new Float64Array(words.buffer)
const LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1
const LOW = LITTLE_ENDIAN ? 0 : 1
const HIGH = 1 - LOW

/** Where this process began to count; others began elsewhere. */
let writes = randomWord()

/** An upper half that is not this one. */
export function newBirth(other: number): number {
  for (;;) {
    const word = randomWord()
    const exponent = (word >>> 20) & 0x7ff
    // Those without are no numbers that compare by their bits.
    if (exponent > 0 && exponent < 0x7ff && word !== other) return word
  }
}

/** A version that no write has had, of the session with this birth. */
export function nextVersion(birth: number): number {
  writes = (writes + 1) >>> 0
  words[HIGH] = birth
  words[LOW] = writes
  return double[0] as number
}

export function birthOf(version: number): number {
  double[0] = version
  return words[HIGH] as number
}

function randomWord(): number {
  return randomFillSync(new Uint32Array(1))[0] as number
}
