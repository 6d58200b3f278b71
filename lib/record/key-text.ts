/**
 * A session key as a string that UTF-8 can hold. It cannot hold a lone surrogate, which a session key
 * may have. Such a key is written as JSON behind a NUL, and so is one that begins with NUL itself.
 */
export function keyToText(key: string): string {
  return key.isWellFormed() && key.charCodeAt(0) !== 0 ? key : `\0${JSON.stringify(key)}`
}

/** @throws SyntaxError for a string that `keyToText` has not made */
export function textToKey(text: string): string {
  return text.charCodeAt(0) === 0 ? JSON.parse(text.slice(1)) : text
}
