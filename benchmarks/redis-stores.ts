import { randomBytes } from 'node:crypto'
import { RedisStore as ConnectRedis } from 'connect-redis'
import type { SessionData } from 'express-session'
import type { SessionRecord, SessionStore } from '../lib/index.js'
import type { RedisClient, RedisStoreOptions } from '../lib/redis.js'
import { PROFILE } from './session-data.js'

/** One session in the hands of a store's user. */
export interface Held {
  load(): Promise<void>
  /** Counts on, and stores that. */
  save(): Promise<void>
  /** Moves its deadline. */
  touch(): Promise<void>
  destroy(): Promise<void>
}

/** What both stores are asked for. */
export interface Contestant {
  /** Stores a new session of 400 bytes with a counter; a user's, if the store knows of users. */
  create(user?: string): Promise<Held>
  /** Looks at all sessions, and reads them if asked to; resolves to how many there are. */
  walk?(reads: boolean): Promise<number>
  close(): Promise<void>
}

export const OURS = 'fastify-sled-session'
export const THEIRS = 'connect-redis'
const DAY = 86_400_000
const SILENT = { debug() {}, info() {}, warn() {}, error() {} }

/** Both stores on one server, through clients of the same package. */
export const CONTESTANTS: Record<string, (client: RedisClient) => Promise<Contestant>> = {
  [OURS]: (client) => openOurs(client),
  [THEIRS]: async (client) => openTheirs(client)
}

/** @param prefix for the keys of one of several on a server */
export async function openOurs(client: RedisClient, prefix?: string): Promise<Contestant> {
  const { RedisStore } = (await import('../dist/redis.js' as string)) as {
    RedisStore: new (options: RedisStoreOptions) => SessionStore
  }
  const { handleOf } = (await import('../dist/record/handle.js' as string)) as {
    handleOf(id: string): string
  }
  const { onInactivity } = (await import('../dist/index.js' as string)) as {
    onInactivity(milliseconds: number): SessionRecord['expiry']
  }
  const store = new RedisStore(prefix === undefined ? { client } : { client, prefix })
  await store.open({ now: Date.now, log: SILENT })
  return {
    async create(user) {
      const id = newId()
      const now = Date.now()
      const start = { handle: handleOf(id), createdAt: now, lastSeenAt: now, expiresAt: now + DAY }
      const record = store.create(start)
      record.expiry = onInactivity(DAY)
      record.principal = user ?? null
      const data = { counter: '0', profile: JSON.stringify(PROFILE) }
      for (const [key, text] of Object.entries(data)) record.apply(key, text)
      await store.save(record, new Map(record.data))
      return heldByOurs(store, record, id)
    },
    async walk(reads) {
      if (!reads) return store.count()
      let count = 0
      for await (const _ of store.records()) count++
      return count
    },
    close: async () => store.close()
  }
}

function heldByOurs(store: SessionStore, record: SessionRecord, id: string): Held {
  let counter = 0
  return {
    async load() {
      if ((await store.load(id)) === null) throw new Error('a session is gone')
    },
    async save() {
      const text = String(++counter)
      record.apply('counter', text)
      await store.save(record, new Map([['counter', text]]))
    },
    async touch() {
      record.lastSeenAt = Date.now()
      record.expiresAt = record.lastSeenAt + DAY
      await store.save(record, null)
    },
    destroy: () => store.destroy(record)
  }
}

function openTheirs(client: RedisClient): Contestant {
  const store = new ConnectRedis({ client })
  return {
    async create() {
      const id = newId()
      const cookie = { originalMaxAge: DAY, expires: new Date(Date.now() + DAY), httpOnly: true }
      const session = { cookie, counter: 0, profile: PROFILE } as unknown as Counted
      await asked((done) => store.set(id, session, done))
      return heldByTheirs(store, session, id)
    },
    close: async () => {}
  }
}

type Counted = SessionData & { counter: number }

function heldByTheirs(store: ConnectRedis, session: Counted, id: string): Held {
  const move = (): void => {
    session.cookie.expires = new Date(Date.now() + DAY)
  }
  return {
    async load() {
      if (!(await asked((done) => store.get(id, done)))) throw new Error('a session is gone')
    },
    async save() {
      session.counter++
      move()
      await asked((done) => store.set(id, session, done))
    },
    async touch() {
      move()
      await asked((done) => store.touch(id, session, done))
    },
    async destroy() {
      await asked((done) => store.destroy(id, done))
    }
  }
}

/** As express-session asks its stores: by a callback. */
function asked(
  ask: (done: (error?: unknown, found?: unknown) => void) => unknown
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    ask((error, found) => {
      if (error) reject(error)
      else resolve(found)
    })
  })
}

function newId(): string {
  return randomBytes(32).toString('base64url')
}
