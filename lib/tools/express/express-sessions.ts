import { MAX_TIME } from '../../record/expiry.js'
import { handleOf } from '../../record/handle.js'
import type { SessionRecord } from '../../record/record.js'
import { decodeValue } from '../../record/value.js'
import { type Leave, Turnstile } from '../../session/turnstile.js'
import type { SessionStore } from '../../store/session-store.js'
import { EndedSessions } from './ended-sessions.js'

/** A session as express-session and @fastify/session hand it to their stores. */
export interface ExpressSession {
  cookie: {
    expires?: Date | string | null | undefined
    originalMaxAge?: number | null | undefined
  }
}

const BATCH = 128

/** Sessions of those packages in a store of ours, written whole under ids that those packages make. */
export class ExpressSessions {
  readonly ended: EndedSessions
  readonly #store: SessionStore
  readonly #sessionEndLimit: number
  readonly #now: () => number
  /** One write of a session at a time: each first looks whether the session is stored. */
  readonly #writes = new Turnstile()

  constructor(store: SessionStore, sessionEndLimit: number, now: () => number) {
    this.#store = store
    this.#sessionEndLimit = sessionEndLimit
    this.#now = now
    this.ended = new EndedSessions(now)
  }

  async read(sid: string): Promise<ExpressSession | null> {
    const record = await this.#store.loadByHandle(handle(sid))
    return record === null ? null : toSession(record)
  }

  async write(sid: string, session: ExpressSession): Promise<void> {
    // Copied now: the application may change the session while this write waits for its turn.
    const entries = entriesOf(session)
    const expiresAt = this.#expiryOf(session)
    await this.#inTurn(handle(sid), async (name) => {
      if (this.ended.forbids(name, session)) return
      await this.#put(name, entries, expiresAt, true)
    })
  }

  async touch(sid: string, session: ExpressSession): Promise<void> {
    const cookie = entriesOf(session).filter(([key]) => key === 'cookie')
    const expiresAt = this.#expiryOf(session)
    await this.#inTurn(handle(sid), (name) => this.#put(name, cookie, expiresAt, false))
  }

  async end(sid: string): Promise<void> {
    await this.#end(handle(sid))
  }

  async endAll(): Promise<void> {
    let batch: Promise<void>[] = []
    for await (const record of this.#store.records()) {
      batch.push(this.#end(record.handle))
      if (batch.length < BATCH) continue
      await Promise.all(batch)
      batch = []
    }
    await Promise.all(batch)
  }

  async all(): Promise<ExpressSession[]> {
    const sessions: ExpressSession[] = []
    for await (const record of this.#store.records()) sessions.push(toSession(record))
    return sessions
  }

  async count(): Promise<number> {
    let count = 0
    for await (const _ of this.#store.records()) count++
    return count
  }

  async handles(): Promise<string[]> {
    const handles: string[] = []
    for await (const record of this.#store.records()) handles.push(record.handle)
    return handles
  }

  /** With `whole`, `entries` replace all data; without, a session that is not stored is not made. */
  async #put(
    name: string,
    entries: [string, string][],
    expiresAt: number,
    whole: boolean
  ): Promise<void> {
    const now = this.#now()
    const found = await this.#store.loadByHandle(name)
    if (found === null && !whole) return
    const start = { handle: name, createdAt: now, lastSeenAt: now, expiresAt }
    const record = found ?? this.#store.create(start)
    const changes = new Map<string, string | undefined>(entries)
    if (whole)
      for (const key of record.data.keys()) if (!changes.has(key)) changes.set(key, undefined)
    for (const [key, text] of changes) {
      if (record.data.get(key) === text) changes.delete(key)
      else record.apply(key, text)
    }
    record.lastSeenAt = now
    record.expiresAt = expiresAt
    record.expiry = { kind: 'date-time', at: expiresAt }
    await this.#store.save(record, changes)
  }

  async #end(name: string): Promise<void> {
    const order = this.ended.next()
    await this.#inTurn(name, async () => {
      const record = await this.#store.loadByHandle(name)
      if (record !== null) await this.#store.destroy(record)
      this.ended.add(name, order)
    })
  }

  async #inTurn(name: string, work: (name: string) => Promise<void>): Promise<void> {
    const leave = (await this.#writes.enter(name)) as Leave
    try {
      await work(name)
    } finally {
      leave()
    }
  }

  /** As in their own stores, `false` and the like mean a cookie that ends with the browser's session. */
  #expiryOf({ cookie }: ExpressSession): number {
    const at = cookie?.expires ? Number(new Date(cookie.expires)) : Number.NaN
    return Number.isNaN(at) ? this.#now() + this.#sessionEndLimit : Math.min(at, MAX_TIME)
  }
}

function handle(sid: string): string {
  return handleOf(String(sid))
}

/** As JSON holds it, which is what the stores of express-session keep. */
function entriesOf(session: ExpressSession): [string, string][] {
  const plain = JSON.parse(JSON.stringify(session)) as Record<string, unknown>
  return Object.entries(plain).map(([key, value]) => [key, JSON.stringify(value)])
}

function toSession(record: SessionRecord): ExpressSession {
  const entries = [...record.data].map(([key, text]) => [key, decodeValue(text)])
  return Object.fromEntries(entries) as ExpressSession
}
