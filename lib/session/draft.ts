import type { SessionRecord } from '../record/record.js'
import { decodeValue, encodeValue, isMutable } from '../record/value.js'

/** An object that the request has, and the string that stands for it in the record. */
interface HandedOut {
  readonly value: unknown
  text: string
}

/** Session keys with their new encoded values; `undefined` deletes. */
export type Changes = Map<string, string | undefined>

/** What a request may set of a record beside its data. */
export type Attributes = Partial<
  Pick<SessionRecord, 'createdAt' | 'expiry' | 'principal' | 'metadata'>
>

/** When a session was last used, and its deadline. */
export type Times = Pick<SessionRecord, 'lastSeenAt' | 'expiresAt'>

/** How the times of a record were before a request moved them, and what it made of them. */
export interface Moved {
  readonly from: Times
  readonly to: Times
}

/**
 * What one request has changed of its session and not stored yet, and the objects that it got from
 * the session or put into it. Each request has objects of its own, decoded from the shared record's
 * strings; what it changed in place is found by encoding them again before a save. So a change by
 * mutation is saved, and no request sees another's half-made changes.
 *
 * A request that only reads strings and numbers has none.
 */
export class Draft {
  changes: Changes | null = null
  attributes: Attributes | null = null
  moved: Moved | null = null
  /** Something is to be stored, be it data, expiry, principal or the visit. */
  isDirty = false
  /** This request has set the session's expiry, and so for whoever has the session at the end. */
  setsExpiry = false
  private objects: Map<string, HandedOut> | null = null

  /** Whether `collect` may find something: that looks into every object. */
  get hasObjects(): boolean {
    return this.objects !== null
  }

  get(key: string, text: string): unknown {
    const known = this.objects?.get(key)
    if (known !== undefined) return known.value
    const value = decodeValue(text)
    this.put(key, value, text)
    return value
  }

  put(key: string, value: unknown, text: string): void {
    if (!isMutable(text)) {
      this.objects?.delete(key)
      return
    }
    this.objects ??= new Map()
    this.objects.set(key, { value, text })
  }

  note(key: string, text: string | undefined): void {
    this.changes ??= new Map()
    this.changes.set(key, text)
  }

  noteAttribute<A extends keyof Attributes>(name: A, value: Attributes[A]): void {
    this.attributes ??= {}
    this.attributes[name] = value
  }

  noteMove(from: Times, to: Times): void {
    this.moved = { from: this.moved?.from ?? from, to }
  }

  /** The changes, which are the store's affair from now on. */
  take(): Changes | null {
    const { changes } = this
    this.changes = null
    this.attributes = null
    this.moved = null
    this.isDirty = false
    return changes
  }

  /** Changes that were to be stored, and that the end of the record kept out. */
  restore(changes: Changes | null): void {
    this.changes = new Map([...(changes ?? []), ...(this.changes ?? [])])
    this.isDirty = true
  }

  /** What was set or changed in place of a key is not to be saved: it may not be what is stored. */
  drop(key: string): void {
    this.changes?.delete(key)
    this.dropObject(key)
  }

  dropObject(key: string): void {
    this.objects?.delete(key)
  }

  /** Goes on with a record that has all changes, and with the objects of what is in it. */
  rebase(data: ReadonlyMap<string, string>): void {
    this.take()
    for (const key of this.objects?.keys() ?? []) if (!data.has(key)) this.dropObject(key)
  }

  /**
   * Calls back with each value that was changed in place since it was handed out. One that cannot
   * be stored stays as it was.
   */
  collect(maxBytes: number, changed: (key: string, text: string) => void): void {
    try {
      for (const [key, handed] of this.objects ?? []) {
        const text = encodeValue(key, handed.value, maxBytes)
        if (text === handed.text) continue
        changed(key, text)
        handed.text = text
      }
    } catch (error) {
      this.objects = null
      throw error
    }
  }
}
