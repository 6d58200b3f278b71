/**
 * A session key as text that UTF-8 can hold. A lone surrogate it cannot, but a JavaScript string,
 * and so a session key, can. Such a key is written as JSON behind a NUL; so is one that begins
 * with NUL itself.
 */
export function keyToText(key: string): string {
  return key.isWellFormed() && key.charCodeAt(0) !== 0 ? key : `\0${JSON.stringify(key)}`
}

/** @throws SyntaxError for a text that `keyToText` has not made */
export function textToKey(text: string): string {
  return text.charCodeAt(0) === 0 ? JSON.parse(text.slice(1)) : text
}
