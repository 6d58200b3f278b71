/** So much is compared at one time. */
const CHUNK = 256
/** Where more of it changes, all is written. */
const WORTHWHILE = 0.75

/**
 * What, written over the beginning of one text, makes the other of it; `null` where they differ in
 * length or almost all the way.
 */
export function changedBeginning(from: string, to: string): string | null {
  if (from.length !== to.length) return null
  let end = to.length
  while (end > CHUNK && from.slice(end - CHUNK, end) === to.slice(end - CHUNK, end)) end -= CHUNK
  while (end > 0 && from.charCodeAt(end - 1) === to.charCodeAt(end - 1)) end--
  // Both halves of a character that has two.
  if (isHighSurrogate(to.charCodeAt(end - 1)) || isHighSurrogate(from.charCodeAt(end - 1))) end++
  if (end > to.length * WORTHWHILE) return null
  const beginning = to.slice(0, end)
  return Buffer.byteLength(beginning) === Buffer.byteLength(from.slice(0, end)) ? beginning : null
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff
}
