const BYTES = 32
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** What a character of base64url stands for, by its code. */
const VALUES = new Uint8Array(128)
for (const [value, character] of [...ALPHABET].entries()) VALUES[character.charCodeAt(0)] = value

/** The first four bytes of a handle, or of an id, which has the same form: both are as good as random. */
export function hashOf(handle: string): number {
  const high = (valueAt(handle, 0) << 26) | (valueAt(handle, 1) << 20) | (valueAt(handle, 2) << 14)
  const low = (valueAt(handle, 3) << 8) | (valueAt(handle, 4) << 2) | (valueAt(handle, 5) >> 4)
  return (high | low) >>> 0
}

/**
 * The handle that is looked for, as bytes. Its hash is there at once; the rest is decoded when an
 * entry is compared with it, which most searches for what is not there never come to.
 */
export class HandleKey {
  readonly #bytes = Buffer.alloc(BYTES)
  readonly #view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, BYTES)
  #handle = ''
  #decoded = true
  /** The first four bytes of the handle. */
  hash = 0

  set(handle: string): void {
    this.#handle = handle
    this.#decoded = false
    this.hash = hashOf(handle)
  }

  get bytes(): Buffer {
    this.#decode()
    return this.#bytes
  }

  get view(): DataView {
    this.#decode()
    return this.#view
  }

  #decode(): void {
    if (this.#decoded) return
    this.#bytes.write(this.#handle, 'base64url')
    this.#decoded = true
  }
}

function valueAt(handle: string, at: number): number {
  return VALUES[handle.charCodeAt(at)] ?? 0
}
