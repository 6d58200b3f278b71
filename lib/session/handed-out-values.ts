import { decodeValue, encodeValue, isMutable } from '../record/value.js'

interface HandedOut {
  readonly value: unknown
  text: string
}

/**
 * The objects that one request got from its session or put into it. Each request has objects of
 * its own, decoded from the shared record's text; what the request changed in place is found by
 * encoding them again before a save. So a change by mutation is saved, and no request sees
 * another's half-made changes.
 */
export class HandedOutValues {
  readonly #values = new Map<string, HandedOut>()

  get(key: string, text: string): unknown {
    const known = this.#values.get(key)
    if (known !== undefined) return known.value
    const value = decodeValue(text)
    if (isMutable(text)) this.#values.set(key, { value, text })
    return value
  }

  put(key: string, value: unknown, text: string): void {
    if (isMutable(text)) this.#values.set(key, { value, text })
    else this.#values.delete(key)
  }

  /** Goes on only with the keys that a record still has. */
  retain(data: ReadonlyMap<string, string>): void {
    for (const key of this.#values.keys()) if (!data.has(key)) this.#values.delete(key)
  }

  forget(key: string): void {
    this.#values.delete(key)
  }

  /** Calls back with each value that was changed in place since it was handed out. */
  collect(maxBytes: number, changed: (key: string, text: string) => void): void {
    for (const [key, handed] of this.#values) {
      const text = encodeValue(key, handed.value, maxBytes)
      if (text === handed.text) continue
      changed(key, text)
      handed.text = text
    }
  }
}
