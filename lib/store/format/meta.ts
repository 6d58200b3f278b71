/** What the meta entry says, as JSON. Others may keep more in it, which stays as it is. */
export interface FormatMeta {
  readonly format: number
  readonly createdAt?: string
  /** A migration that is under way: to which format, and the last key done in base64url. */
  readonly migrating?: { readonly to: number; readonly after: string }
  /** The migrations that are done. */
  readonly migrated?: readonly { readonly to: number; readonly at: string }[]
  /** When a copy from another store last made this one the same. */
  readonly copied?: string
}

export function encodeMeta(meta: FormatMeta): Buffer {
  return Buffer.from(JSON.stringify(meta))
}

/** `null` for what is no meta entry. */
export function parseMeta(bytes: Buffer): FormatMeta | null {
  try {
    const meta = JSON.parse(bytes.toString()) as FormatMeta | null
    return meta !== null && Number.isSafeInteger(meta.format) && meta.format > 0 ? meta : null
  } catch {
    return null
  }
}
