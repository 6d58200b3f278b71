import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import fastifyCookie from '@fastify/cookie'
import express from 'express'
import expressSession from 'express-session'
import Fastify, { type FastifyPluginCallback, type FastifyRequest } from 'fastify'
import { type Test, test } from 'tap'
import { type ExpressStore, type ExpressStoreOptions, toExpressStore } from '../../lib/express.js'
import { MemoryStore, openSessionStore } from '../../lib/index.js'
import { handleOf } from '../../lib/record/handle.js'
import { until } from '../../scripts/servers/until.js'
import { cookieOf, temporaryFolder } from '../support/app.js'
import { readDatabase } from '../support/rocksdb.js'

const secret = 'a secret of thirty-two characters'

declare module 'express-session' {
  interface SessionData {
    counter: number
    since: Date
  }
}
/** The session of @fastify/session: its types and ours cannot be in one program. */
interface OtherSession {
  counter?: number
  destroy(): Promise<void>
  reload(): Promise<void>
  regenerate(): Promise<void>
}
const other = (request: FastifyRequest) => request.session as unknown as OtherSession

async function storeFor(t: Test, options: ExpressStoreOptions = { reapInterval: false }) {
  const path = await temporaryFolder(t)
  const store = toExpressStore(await openSessionStore(path, { durability: 'process' }), options)
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    closing ??= store.close()
    return closing
  }
  t.teardown(close)
  return { store, path, close }
}

/** What both packages are asked, over HTTP. */
interface Site {
  url: string
  get(path: string, cookie?: string): Promise<{ body: string; set: string | undefined }>
}

function siteAt(url: string): Site {
  return {
    url,
    async get(path, cookie = '') {
      const response = await fetch(url + path, { headers: { cookie } })
      return { body: await response.text(), set: cookieOf(response) }
    }
  }
}

async function expressSite(t: Test, store: ExpressStore, maxAge?: number): Promise<Site> {
  const app = express()
  app.use(
    expressSession({
      secret,
      store,
      resave: false,
      saveUninitialized: false,
      cookie: maxAge === undefined ? {} : { maxAge }
    })
  )
  app.get('/count', (request, response) => {
    request.session.counter = (request.session.counter ?? 0) + 1
    response.send(String(request.session.counter))
  })
  app.get('/read', (request, response) => void response.send(String(request.session.counter)))
  app.get('/destroy', (request, response) => {
    request.session.destroy((error) => void response.send(String(error ?? 'destroyed')))
  })
  app.get('/regenerate', (request, response) => {
    request.session.regenerate((error) => {
      request.session.counter = 100
      response.send(String(error ?? 'regenerated'))
    })
  })
  app.get('/reload', (request, response) => {
    request.session.counter = -1
    request.session.reload((error) => void response.send(String(error ?? request.session.counter)))
  })
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return siteAt(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
}

async function fastifySite(t: Test, store: ExpressStore, maxAge?: number): Promise<Site> {
  const { default: fastifySession } = (await import('@fastify/session' as string)) as {
    default: FastifyPluginCallback<Record<string, unknown>>
  }
  const app = Fastify()
  await app.register(fastifyCookie)
  const cookie = { secure: false, ...(maxAge === undefined ? {} : { maxAge }) }
  await app.register(fastifySession, { secret, store, saveUninitialized: false, cookie })
  app.get('/count', async (request) => {
    const session = other(request)
    session.counter = (session.counter ?? 0) + 1
    return String(session.counter)
  })
  app.get('/read', async (request) => String(other(request).counter))
  app.get('/destroy', async (request) => {
    await other(request).destroy()
    return 'destroyed'
  })
  app.get('/regenerate', async (request) => {
    await other(request).regenerate()
    other(request).counter = 100
    return 'regenerated'
  })
  app.get('/reload', async (request) => {
    other(request).counter = -1
    await other(request).reload()
    return String(other(request).counter)
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => app.close())
  return siteAt(url)
}

for (const [name, start] of [
  ['express-session', expressSite],
  ['@fastify/session', fastifySite]
] as const) {
  test(`${name} counts, reloads, regenerates and destroys on RocksDB`, async (t) => {
    const { store, path, close } = await storeFor(t)
    const { get } = await start(t, store)
    const { set: cookie = '', body } = await get('/count')
    t.equal(body, '1')
    t.equal((await get('/count', cookie)).body, '2')
    t.equal((await get('/read', cookie)).body, '2')
    t.equal((await get('/reload', cookie)).body, '2')

    const renewed = await get('/regenerate', cookie)
    t.equal(renewed.body, 'regenerated')
    t.equal((await get('/read', cookie)).body, 'undefined', 'the old id is dead')
    t.equal((await get('/read', renewed.set)).body, '100')
    t.equal((await get('/count', renewed.set)).body, '101')

    t.equal((await get('/destroy', renewed.set)).body, 'destroyed')
    t.equal((await get('/read', renewed.set)).body, 'undefined')

    const last = await get('/count')
    await close()
    const [sid = ''] = decodeURIComponent(last.set?.split('=')[1] ?? '')
      .replace(/^s:/, '')
      .split('.')
    const entries = await readDatabase(path)
    const disk = Buffer.concat(entries.flat())
    t.notOk(disk.includes(sid), 'the id is not on disk')
    t.ok(disk.includes(Buffer.from(handleOf(sid), 'base64url')), 'its hash is')
  })

  test(`${name}: sessions are there after a restart, and last as long as their cookie`, async (t) => {
    const path = await temporaryFolder(t)
    const first = toExpressStore(await openSessionStore(path), { reapInterval: false })
    const before = await start(t, first, 60_000)
    const { set: cookie = '' } = await before.get('/count')
    await first.close()

    const second = toExpressStore(await openSessionStore(path), { reapInterval: 10 })
    t.teardown(() => second.close())
    const after = await start(t, second, 400)
    t.equal((await after.get('/count', cookie)).body, '2')
    const short = await after.get('/count')
    const length = () =>
      new Promise<number>((resolve) => second.length((_error, count) => resolve(count ?? 0)))
    t.ok((await length()) >= 1)
    await until(async () => (await length()) === 1)
    t.equal((await after.get('/read', short.set)).body, 'undefined')
  })
}

/** Calls a method of a store and resolves to what it calls back with. */
function ask<T>(call: (callback: (error?: unknown, result?: T) => void) => void) {
  return new Promise<T | undefined>((resolve, reject) =>
    call((error, result) => (error ? reject(error) : resolve(result)))
  )
}

test('the store answers as express-session asks of stores', async (t) => {
  const { store } = await storeFor(t)
  await once(store, 'connect')
  const cookie = { expires: new Date(Date.now() + 60_000), originalMaxAge: 60_000 }
  const sid = 'a foreign / short id'
  t.equal(await ask((done) => store.get(sid, done)), null)
  t.equal(await ask((done) => store.load(sid, done)), undefined)
  await ask<void>((done) => store.touch(sid, { cookie }, done))
  t.equal(await ask((done) => store.get(sid, done)), null, 'a touch begins nothing')

  const since = new Date(0)
  const session = { cookie, since, list: [1, { two: 2 }], nothing: undefined, user: null }
  await ask<void>((done) => store.set(sid, session, done))
  const stored = JSON.parse(JSON.stringify(session))
  t.same(await ask((done) => store.get(sid, done)), stored)
  await ask<void>((done) => store.set(sid, { cookie, ...{ user: 'ann' } }, done))
  t.same(await ask((done) => store.get(sid, done)), { cookie: stored.cookie, user: 'ann' })

  const later = new Date(Date.now() + 120_000)
  await ask<void>((done) => store.touch(sid, { cookie: { expires: later } }, done))
  t.match(await ask((done) => store.get(sid, done)), {
    user: 'ann',
    cookie: { expires: later.toISOString() }
  })
  await ask<void>((done) => store.touch(sid, { cookie: { expires: new Date(0) } }, done))
  t.equal(await ask((done) => store.get(sid, done)), null, 'its time has come')

  for (let at = 0; at < 5; at++) store.set(`id ${at}`, { cookie: {}, ...{ at } })
  await ask<void>((done) => store.set('last', { cookie: { expires: 'never' } }, done))
  t.equal((await ask<unknown[]>((done) => store.all(done)))?.length, 6)
  await ask<void>((done) => store.destroy('last', done))
  await ask<void>((done) => store.destroy('last', done))
  t.same(await ask((done) => store.get('last', done)), null)
  await ask<void>((done) => store.clear(done))
  t.same(await ask((done) => store.all(done)), [])
})

test('parallel writes of a session that is new do not meet', async (t) => {
  const { store } = await storeFor(t)
  const writes = Array.from({ length: 20 }, (_, at) =>
    ask<void>((done) => store.set('new', { cookie: {}, ...{ at } }, done))
  )
  await Promise.all(writes)
  t.match(await ask((done) => store.get('new', done)), { at: 19 })
  t.equal(await ask((done) => store.length(done)), 1)
})

test('failures reach the callback, and the end is told', async (t) => {
  const { store, close } = await storeFor(t, { reapInterval: 5 })
  const told = once(store, 'disconnect')
  await close()
  await told
  await t.rejects(ask((done) => store.get('some', done)))
  await t.rejects(ask<void>((done) => store.set('some', { cookie: {} }, done)))
  t.doesNotThrow(() => store.set('some', { cookie: {} }))
})

test("what a store of one's own throws is ours when it reaches the callback", async (t) => {
  class Failing extends MemoryStore {
    override loadByHandle(): never {
      throw new Error('disk on fire')
    }

    override async putRecords(): Promise<void> {
      throw new Error('disk on fire')
    }
  }
  const store = toExpressStore(new Failing(), { reapInterval: false })
  t.teardown(() => store.close())
  const refused = { code: 'SLED_SESSION_STORE_UNAVAILABLE', cause: { message: 'disk on fire' } }
  await t.rejects(
    ask((done) => store.get('some', done)),
    refused
  )
  await t.rejects(
    ask<void>((done) => store.set('some', { cookie: {} }, done)),
    refused
  )
})
