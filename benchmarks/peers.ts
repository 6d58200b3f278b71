import { mkdtemp } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify, {
  type FastifyInstance,
  type FastifyPluginCallback,
  type FastifyReply,
  type FastifyRequest
} from 'fastify'
import type { SledSessionOptions } from '../lib/index.js'
import { expressApp } from './peer-express.js'
import { BIG, PROFILE } from './session-data.js'

const SECRET = 'a secret for benchmarks that is of no other use whatever'

/** How one peer reads and writes. */
interface Access {
  get(request: FastifyRequest, key: string): unknown
  set(request: FastifyRequest, reply: FastifyReply, key: string, value: unknown): void
  destroy(request: FastifyRequest): unknown
}

/** Starts a peer's server; resolves to its port. */
export type Peer = () => Promise<number>

async function load<T>(name: string): Promise<T> {
  return ((await import(name)) as { default: T }).default
}

type Plugin = FastifyPluginCallback<object>

/** The routes that each peer on Fastify serves. */
function addRoutes(app: FastifyInstance, { get, set, destroy }: Access): void {
  app.get('/counter', async (request, reply) => {
    const counter = (get(request, 'counter') as number | undefined) ?? 0
    set(request, reply, 'counter', counter + 1)
    return `Current count: ${counter}`
  })
  app.get('/read', async (request) => `Current count: ${get(request, 'counter') ?? 0}`)
  app.get('/untouched', async () => 'Current count: 0')
  app.get('/create', async (request, reply) => {
    set(request, reply, 'profile', PROFILE)
    return 'Current count: 0'
  })
  app.get('/big', async (request, reply) => {
    set(request, reply, 'profile', BIG)
    return 'Current count: 0'
  })
  app.get('/destroy', async (request) => {
    await destroy(request)
    return 'Current count: 0'
  })
}

async function listen(app: FastifyInstance): Promise<number> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  return (app.server.address() as AddressInfo).port
}

function onFastify(access: Access, setUp: (app: FastifyInstance) => Promise<unknown>): Peer {
  return async () => {
    const app = Fastify()
    await setUp(app)
    addRoutes(app, access)
    return listen(app)
  }
}

const nothing: Access = { get: () => 0, set: () => {}, destroy: () => {} }

const cookieOnly: Access = {
  get: (request) => Number(request.cookies.counter ?? 0),
  set: (_request, reply, _key, value) => {
    reply.setCookie('counter', String(value), { path: '/', httpOnly: true, sameSite: 'lax' })
  },
  destroy: () => {}
}

interface GetSet {
  get(key: string): unknown
  set(key: string, value: unknown): void
  destroy?(): unknown
  delete?(): void
}

const getSet: Access = {
  get: (request, key) => (request.session as unknown as GetSet).get(key),
  set: (request, _reply, key, value) => (request.session as unknown as GetSet).set(key, value),
  destroy: (request) => (request.session as unknown as GetSet).destroy?.()
}

const temporary = () => mkdtemp(join(tmpdir(), 'sled-bench-'))

/** @param folder names the variable of the environment that has a database filled beforehand */
function sled(options: SledSessionOptions = {}, folder?: string): Peer {
  return onFastify(getSet, async (app) => {
    const { sledSession } = (await import('../dist/index.js' as string)) as {
      sledSession: Plugin
    }
    const path = folder === undefined ? await temporary() : (process.env[folder] as string)
    await app.register(sledSession, { path, secure: false, ...options } as SledSessionOptions)
  })
}

/** On the LMDB database in the folder that the environment names, beside other processes. */
function sledOnLmdb(options: SledSessionOptions = {}): Peer {
  return onFastify(getSet, async (app) => {
    const { sledSession } = (await import('../dist/index.js' as string)) as { sledSession: Plugin }
    const { LmdbStore } = (await import('../dist/lmdb.js' as string)) as {
      LmdbStore: new (options: { path: string }) => unknown
    }
    const store = new LmdbStore({ path: process.env.LMDB_FOLDER as string })
    await app.register(sledSession, { store, secure: false, ...options } as object)
  })
}

/** On the Redis whose URL is in the environment. */
const sledOnRedis: Peer = onFastify(getSet, async (app) => {
  const { sledSession } = (await import('../dist/index.js' as string)) as { sledSession: Plugin }
  const { RedisStore } = (await import('../dist/redis.js' as string)) as {
    RedisStore: new (options: object) => unknown
  }
  const store = new RedisStore({ client: await connectRedis() })
  await app.register(sledSession, { store, secure: false } as object)
})

function fastifySession(store?: () => Promise<unknown>): Peer {
  return onFastify(getSet, async (app) => {
    await app.register(await load<Plugin>('@fastify/cookie'))
    const options = { secret: SECRET, cookie: { secure: false } }
    const extra = store === undefined ? {} : { store: await store() }
    await app.register(await load<Plugin>('@fastify/session'), { ...options, ...extra } as object)
  })
}

const statelessAccess: Access = {
  ...getSet,
  // Its delete() takes no key and ends the session.
  destroy: (request) => (request.session as unknown as GetSet).delete?.()
}

const secureSession = onFastify(statelessAccess, async (app) => {
  const options = { key: Buffer.alloc(32, SECRET), cookie: { path: '/', httpOnly: true } }
  await app.register(await load<Plugin>('@fastify/secure-session'), options as object)
})

/** Of the Redis whose URL is in the environment. */
async function connectRedis(): Promise<unknown> {
  const { createClient } = (await import('redis' as string)) as {
    createClient(options: object): { connect(): Promise<unknown> }
  }
  return createClient({ url: process.env.REDIS_URL }).connect()
}

async function redisStore(): Promise<unknown> {
  const { RedisStore } = (await import('connect-redis' as string)) as {
    RedisStore: new (options: object) => unknown
  }
  return new RedisStore({ client: await connectRedis() })
}

async function fileStore(session: unknown): Promise<unknown> {
  const make =
    await load<(session: unknown) => new (options: object) => unknown>('session-file-store')
  const FileStore = make(session)
  return new FileStore({ path: await temporary(), logFn: () => {} })
}

const ours = 'fastify-sled-session'
/** Two thirds of it hold 1 % of a million sessions of 500 bytes. */
const COLD_MEMORY = 15_000_000

/** All that is compared, by name. */
export const PEERS: Record<string, Peer> = {
  'bare Fastify': onFastify(nothing, async () => {}),
  'Fastify + one cookie': onFastify(cookieOnly, async (app) =>
    app.register(await load<Plugin>('@fastify/cookie'))
  ),
  'fastify-sled-session': sled(),
  'fastify-sled-session, power': sled({ durability: 'power' }),
  'fastify-sled-session, signed': sled({ cookie: { signed: [SECRET] } }),
  'fastify-sled-session, encrypted': sled({ cookie: { encrypted: [SECRET] } }),
  '@fastify/session, memory': fastifySession(),
  '@fastify/session, Redis': fastifySession(redisStore),
  '@fastify/secure-session': secureSession,
  'express-session, memory': () => expressApp(SECRET),
  'express-session, files': () => expressApp(SECRET, fileStore),
  // For cores.ts, which compares numbers of processes, and page-faults.ts.
  [`${ours} on LMDB`]: sledOnLmdb(),
  [`${ours} on LMDB, not rolling`]: sledOnLmdb({ rolling: false }),
  // For redis.ts, beside '@fastify/session, Redis'.
  [`${ours} on Redis`]: sledOnRedis,
  // The same plugin on databases that fill.ts has filled; see workloads.ts.
  [`${ours}, 1M stored`]: sled({ rolling: false, memory: COLD_MEMORY }, 'COLD_FOLDER'),
  [`${ours}, 1M stored, rolling`]: sled({ memory: COLD_MEMORY }, 'COLD_FOLDER'),
  [`${ours}, reaping`]: sled({ reapInterval: { seconds: 2 } }, 'EXPIRED_FOLDER')
}
