const SLAB_BYTES = 64 * 1024

/**
 * What is to be stored is encoded one behind the other: a buffer of its own for each would cost
 * more than its encoding. No byte is used twice, so whoever writes a record may take their time.
 */
export let slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
/** Of the same bytes. */
export let view = new DataView(slab.buffer)
let used = 0

/** Makes sure that so many bytes are free in the slab, and returns where they begin. */
export function reserve(bytes: number): number {
  if (used + bytes > slab.length) {
    slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes))
    view = new DataView(slab.buffer)
    used = 0
  }
  return used
}

/** What was written to the slab between what `reserve` returned and here. */
export function takeUntil(end: number): Buffer {
  const bytes = slab.subarray(used, end)
  used = end
  return bytes
}

/** A text in UTF-8. */
export function encodeText(text: string): Buffer {
  const from = reserve(mostBytes(text))
  return takeUntil(from + slab.write(text, from, 'utf8'))
}

const LONG_TEXT = 4096

/** How much space a text may need in UTF-8: three bytes a unit at most, counted if that is much. */
export function mostBytes(text: string): number {
  return text.length < LONG_TEXT ? 3 * text.length : Buffer.byteLength(text)
}
