import { expectTypeOf } from 'expect-type'
import type { Store } from 'express-session'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { test } from 'tap'
import { toExpressStore } from '../../lib/express.js'
import sledSession, {
  atDateTime,
  type BackupResult,
  type Expiry,
  type ImportResult,
  MemoryStore,
  sledSession as named,
  onInactivity,
  type Session,
  type SessionInfo,
  type SessionManager,
  type SessionStore,
  type SetPrincipalOptions,
  type SledSessionOptions,
  type StoreStats
} from '../../lib/index.js'
import { RedisStore } from '../../lib/redis.js'
import { takeOver } from '../../lib/take-over.js'

declare module '../../lib/index.js' {
  interface SessionData {
    basket: { items: string[] }
  }
}

// The compiler checks the functions here; they are never run.

test('the plugin and its options', async (t) => {
  expectTypeOf(sledSession).toEqualTypeOf(named)
  expectTypeOf<SledSessionOptions['path']>().toEqualTypeOf<string | undefined>()
  expectTypeOf(new MemoryStore()).toExtend<SessionStore>()
  const register = async (): Promise<void> => {
    const app = Fastify()
    await app.register(sledSession, { path: './storage' })
    await app.register(sledSession, { path: './storage', expiry: onInactivity({ hours: 1 }) })
    // @ts-expect-error a path is text
    await app.register(sledSession, { path: 5 })
    // @ts-expect-error an option that does not exist
    await app.register(sledSession, { path: './storage', secret: 'x' })
    // @ts-expect-error not a value of the attribute
    await app.register(sledSession, { path: './storage', cookie: { sameSite: 'Lax' } })
    app.get('/', { config: { session: false } }, async () => '')
    app.get('/', { config: { session: { exclusive: { maxQueue: 5 } } } }, async () => '')
  }
  t.type(register, 'function')
})

test('request.session knows the declared keys, and takes others', async (t) => {
  expectTypeOf<FastifyRequest['session']>().toEqualTypeOf<Session>()
  expectTypeOf<FastifyInstance['sessions']>().toEqualTypeOf<SessionManager>()
  const logIn = (session: Session, user: string, options: SetPrincipalOptions): Promise<void> =>
    session.setPrincipal(user, options)
  t.type(logIn, 'function')
  const use = async ({ session }: FastifyRequest): Promise<void> => {
    expectTypeOf(session.get('counter')).toEqualTypeOf<number | undefined>()
    expectTypeOf(session.get('basket')).toEqualTypeOf<{ items: string[] } | undefined>()
    expectTypeOf(session.get('unknown')).toEqualTypeOf<unknown>()
    expectTypeOf(session.get<Date>('unknown')).toEqualTypeOf<Date | undefined>()
    expectTypeOf(session.pop('counter')).toEqualTypeOf<number | undefined>()
    expectTypeOf(session.update('counter', (value = 0) => value + 1)).resolves.toBeNumber()
    expectTypeOf(
      session.update<string[]>('unknown', async (list = []) => list)
    ).resolves.toEqualTypeOf<string[]>()
    session.set('counter', 1)
    session.set('unknown', new Date())
    // @ts-expect-error the counter is a number
    session.set('counter', 'one')
    // @ts-expect-error the basket has items
    session.set('basket', {})
    // @ts-expect-error the counter is a number
    await session.update('counter', () => 'one')
    // @ts-expect-error read-only
    session.id = 'x'
  }
  t.type(use, 'function')
})

test('the life, the user and the expiry of a session', async (t) => {
  const use = async (session: Session): Promise<void> => {
    expectTypeOf(session.id).toEqualTypeOf<string | null>()
    expectTypeOf(session.handle).toEqualTypeOf<string | null>()
    expectTypeOf(session.isNew).toBeBoolean()
    expectTypeOf(session.save()).resolves.toBeVoid()
    expectTypeOf(session.reload()).resolves.toBeVoid()
    expectTypeOf(session.destroy()).resolves.toBeVoid()
    expectTypeOf(session.regenerate({ keep: ['basket'] })).resolves.toBeVoid()
    expectTypeOf(session.setPrincipal('ann', { metadata: 1 })).resolves.toBeVoid()
    expectTypeOf(session.principal).toEqualTypeOf<string | null>()
    expectTypeOf(session.expiry).toEqualTypeOf<Expiry>()
    expectTypeOf(session.expiresAt).toEqualTypeOf<Date | null>()
    expectTypeOf(session.expiresIn).toBeNumber()
    session.expiry = atDateTime(new Date())
    // @ts-expect-error a user is named by text
    await session.setPrincipal(5)
    // @ts-expect-error made by the functions
    session.expiry = 5
  }
  t.type(use, 'function')
})

test('sessions outside a request', async (t) => {
  const use = (sessions: SessionManager): void => {
    expectTypeOf(sessions.list('ann')).resolves.toEqualTypeOf<SessionInfo[]>()
    expectTypeOf(sessions.get('handle')).resolves.toEqualTypeOf<Session | null>()
    expectTypeOf(sessions.load('id=x')).resolves.toEqualTypeOf<Session | null>()
    expectTypeOf(sessions.load).parameter(0).toEqualTypeOf<string | undefined>()
    expectTypeOf(sessions.revoke('handle', { principal: 'ann' })).resolves.toBeBoolean()
    expectTypeOf(sessions.revokeAll('ann', { except: 'handle' })).resolves.toBeNumber()
    expectTypeOf(sessions.update('handle', (session) => session.clear())).resolves.toBeBoolean()
    expectTypeOf(sessions.count()).resolves.toBeNumber()
    expectTypeOf(sessions.deleteExpired()).resolves.toBeNumber()
    expectTypeOf(sessions.deleteExpired)
      .parameter(0)
      .toEqualTypeOf<{ onProgress?: (deleted: number) => void } | undefined>()
    expectTypeOf(sessions.stats()).resolves.toEqualTypeOf<StoreStats>()
    expectTypeOf(sessions.backup('folder')).resolves.toEqualTypeOf<BackupResult>()
    expectTypeOf(sessions.export()).toEqualTypeOf<AsyncGenerator<string>>()
    expectTypeOf(sessions.import(process.stdin)).resolves.toEqualTypeOf<ImportResult>()
    // @ts-expect-error a user is named by text
    sessions.list(5)
  }
  t.type(use, 'function')
})

test('stores and what stands beside the plugin', async (t) => {
  const use = async (store: SessionStore): Promise<void> => {
    const client = createClient()
    expectTypeOf(new RedisStore({ client })).toExtend<SessionStore>()
    expectTypeOf(new RedisStore({ client: new Redis() })).toExtend<SessionStore>()
    // @ts-expect-error a client is needed
    new RedisStore({})
    // @ts-expect-error a URL is no client
    new RedisStore({ client: 'redis://127.0.0.1' })
    expectTypeOf(toExpressStore(store)).toExtend<Store>()
    const app = Fastify()
    await app.register(sledSession, { store: new RedisStore({ client }) })
    // @ts-expect-error it ends some day, so that it is not forgotten
    await app.register(takeOver, { store: null, cookieName: 'sessionId', secret: 'x' })
  }
  t.type(use, 'function')
})
