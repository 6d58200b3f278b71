import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import fastifyCookie from '@fastify/cookie'
import { RedisStore as ConnectRedis } from 'connect-redis'
import express from 'express'
import expressSession from 'express-session'
import Fastify, { type FastifyPluginCallback } from 'fastify'
import { createClient } from 'redis'
import type { Test } from 'tap'
import type { Session } from '../../lib/index.js'
import { type FormerStore, type TakeOverOptions, takeOver } from '../../lib/take-over.js'
import { startRedis } from '../../scripts/servers/redis.js'
import { until } from '../../scripts/servers/until.js'
import { cookieOf, createApp, listen } from '../support/app.js'
import { testWith } from '../support/needs.js'

const test = testWith('redis-server')
const secret = 'a former secret of thirty-two characters'
const tomorrow = new Date(Date.now() + 86_400_000)

async function formerStore(t: Test) {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const client = createClient({ url: server.url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.destroy())
  return { client, server, from: new ConnectRedis({ client }) }
}

/** The former cookie of a visitor of express-session, whose cart is full. */
async function expressVisitor(t: Test, store: ConnectRedis): Promise<string> {
  const app = express()
  app.use(expressSession({ secret, store, resave: false, saveUninitialized: false }))
  app.get('/', (request, response) => {
    Object.assign(request.session, { user: 'ann', cart: ['tea'] })
    response.send('ok')
  })
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  return cookieOf(await fetch(`http://127.0.0.1:${port}`)) ?? ''
}

/** The same of @fastify/session. */
async function fastifyVisitor(t: Test, store: ConnectRedis): Promise<string> {
  const { default: fastifySession } = (await import('@fastify/session' as string)) as {
    default: FastifyPluginCallback<Record<string, unknown>>
  }
  const app = Fastify()
  await app.register(fastifyCookie)
  await app.register(fastifySession, { secret, store, cookie: { secure: false } })
  app.get('/', async (request) => {
    Object.assign(request.session, { user: 'ann', cart: ['tea'] })
    return 'ok'
  })
  t.teardown(() => app.close())
  return cookieOf(await fetch(await listen(app))) ?? ''
}

async function newSite(t: Test, options: Partial<TakeOverOptions> & { from: FormerStore }) {
  const lines: string[] = []
  const logger = { stream: { write: (line: string) => lines.push(line) } }
  const app = await createApp(t, {}, { logger })
  await app.register(takeOver, {
    secrets: ['a newer secret of thirty-two characters', secret],
    cookieName: 'connect.sid',
    until: tomorrow,
    principal: ({ user }) => user as string | undefined,
    ...options
  })
  app.get('/', async ({ session }) => ({
    principal: session.principal,
    data: Object.fromEntries(session.entries())
  }))
  app.get('/none', { config: { session: false } }, async () => 'none')
  app.get('/fails', async () => {
    throw new Error('out of order')
  })
  app.get('/logout', async ({ session }) => session.destroy())
  const url = await listen(app)
  const get = async (cookie: string, path = '/') => {
    const response = await fetch(url + path, { headers: { cookie } })
    const set = response.headers.getSetCookie()
    const body = await response.text()
    return { status: response.status, set, body: body.startsWith('{') ? JSON.parse(body) : body }
  }
  return { app, get, lines }
}

for (const [name, visit, cookieName] of [
  ['express-session', expressVisitor, 'connect.sid'],
  ['@fastify/session', fastifyVisitor, 'sessionId']
] as const) {
  test(`a visitor of ${name} stays logged in, under a fresh id`, async (t) => {
    const { from, client } = await formerStore(t)
    const former = await visit(t, from)
    t.equal((await client.keys('sess:*')).length, 1)
    const { app, get } = await newSite(t, { from, cookieName })
    const first = await get(former)
    t.match(first.body, { principal: 'ann', data: { user: 'ann', cart: ['tea'] } })
    t.same(Object.keys(first.body.data).sort(), ['cart', 'user'])
    const [own = '', gone = ''] = first.set
    t.match(own, /^id=[\w-]{43};/)
    t.match(gone, new RegExp(`^${cookieName}=; Max-Age=0; Path=/`))

    await until(async () => (await client.keys('sess:*')).length === 0)
    const again = await get(former)
    t.same(again.body, { principal: null, data: {} }, 'the former id is dead')
    t.same(again.set, [])
    const later = await get(`${former}; ${own.split(';')[0]}`)
    t.match(later.body, { principal: 'ann', data: { cart: ['tea'] } })
    t.same(later.set, [])
    t.equal((await app.sessions.list('ann')).length, 1)
  })
}

test('a former cookie that nobody has signed is nothing', async (t) => {
  const { from, client } = await formerStore(t)
  const former = await expressVisitor(t, from)
  const { get } = await newSite(t, { from })
  const [name, value = ''] = former.split('=')
  const [sid = '', signature = ''] = decodeURIComponent(value).slice(2).split('.')
  const forgeries = [
    sid,
    `s:${sid}`,
    `s:${sid}.`,
    `s:${sid}.${signature.slice(1)}`,
    `s:${sid}x.${signature}`,
    `s:.${signature}`,
    `s:${sid}.${signature}=`,
    `${sid}.${'A'.repeat(43)}`,
    `s:${sid}.${signature}${'x'.repeat(600)}`
  ]
  for (const forgery of [...forgeries.map(encodeURIComponent), '%']) {
    const { body, set, status } = await get(`${name}=${forgery}`)
    t.same({ body, set, status }, { body: { principal: null, data: {} }, set: [], status: 200 })
  }
  t.same((await get(`${former}; ${former}`)).set, [], 'nor one that came twice')
  t.equal((await client.keys('sess:*')).length, 1)
})

test('nothing is taken over after the end, nor where there is no session', async (t) => {
  const { from } = await formerStore(t)
  const former = await expressVisitor(t, from)
  const late = await newSite(t, { from, until: new Date(Date.now() - 1) })
  t.same((await late.get(former)).body, { principal: null, data: {} })
  const { get } = await newSite(t, { from })
  t.same((await get(former, '/none')).set, [])
  t.match((await get(former)).body, { principal: 'ann' })
})

test('a 500 that stores the new session ends the former, and a fault logs nobody out', async (t) => {
  const { from, client, server } = await formerStore(t)
  const former = await expressVisitor(t, from)
  const { get } = await newSite(t, { from })
  const first = await get(former, '/fails')
  t.equal(first.status, 500)
  await until(async () => (await client.keys('sess:*')).length === 0)
  const [own = ''] = first.set
  t.match((await get(own.split(';')[0] ?? '')).body, { principal: 'ann' }, 'it was stored')

  const other = await expressVisitor(t, from)
  await server.kill()
  const failing: FormerStore = {
    get: (_sid, callback) => callback(new Error('the store is away')),
    destroy: () => {}
  }
  const away = await newSite(t, { from: failing })
  t.equal((await away.get(other)).status, 503, 'nobody is logged out by a fault')
  const rejecting = { ...failing, get: () => Promise.reject(new Error('the store is away')) }
  t.equal((await (await newSite(t, { from: rejecting })).get(other)).status, 503)
})

test('a logout as the first thing ends both sessions', async (t) => {
  const { from, client } = await formerStore(t)
  const former = await expressVisitor(t, from)
  const { app, get } = await newSite(t, { from })
  const { set } = await get(former, '/logout')
  t.match(set.at(-1), /^connect\.sid=; Max-Age=0/)
  await until(async () => (await client.keys('sess:*')).length === 0)
  t.equal(await app.sessions.count(), 0)
})

test("a former session that cannot be removed is logged, and one without a user is nobody's", async (t) => {
  const { from: real } = await formerStore(t)
  const former = await expressVisitor(t, real)
  const from: FormerStore = {
    get: (sid, callback) => real.get(sid, callback),
    destroy: (_sid, callback) => callback(new Error('the store is away'))
  }
  const { get, lines } = await newSite(t, {
    from,
    cookieDomain: 'example.org',
    principal: () => null
  })
  const { body, set } = await get(former)
  t.match(body, { principal: null, data: { user: 'ann' } })
  t.match(set[1], /; Domain=example\.org;/)
  await until(() => lines.some((line) => line.includes('could not be removed')))
  t.notOk(lines.join().includes('tea'))
})

test('options that cannot work are refused by name', async (t) => {
  const from: FormerStore = { get: () => {}, destroy: () => {} }
  const right = { from, secrets: [secret], cookieName: 'sessionId', until: tomorrow }
  const wrong: Record<string, unknown>[] = [
    { from: {} },
    { from: undefined },
    { secrets: [] },
    { secrets: [''] },
    { secret },
    { cookieName: '' },
    { cookieName: undefined },
    { cookiePath: 'shop' },
    { cookiePath: '/; HttpOnly' },
    { cookieDomain: 'example org' },
    { until: new Date(Number.NaN) },
    { until: '2026-12-31' },
    { untill: tomorrow },
    { principal: 'user' },
    { accept: 'all' },
    { sessionName: 5 },
    { sessionName: 'other' }
  ]
  for (const options of wrong) {
    const [name = ''] = Object.keys(options)
    const app = await createApp(t)
    const registering = async () => {
      await app.register(takeOver, { ...right, ...options } as TakeOverOptions)
    }
    const message = new RegExp(`^fastify-sled-session: option "${name}" `)
    await t.rejects(registering(), { code: 'SLED_SESSION_INVALID_OPTION', message }, name)
  }
  const app = await createApp(t)
  await t.resolves(async () => {
    await app.register(takeOver, { ...right, prefix: '/shop', logLevel: 'warn' })
  })
})

test('outside of the path of our cookie the former session waits', async (t) => {
  const { from } = await formerStore(t)
  const former = await expressVisitor(t, from)
  const app = await createApp(t, { cookie: { path: '/app' } })
  const options = { secrets: [secret], cookieName: 'connect.sid', until: tomorrow, from }
  await app.register(takeOver, options)
  const user = async ({ session }: { session: Session }) => `${session.get('user')}`
  app.get('/', user)
  app.get('/app', user)
  const headers = { cookie: former }
  const outside = await app.inject({ url: '/', headers })
  t.match(outside, { statusCode: 200, body: 'undefined' })
  t.notOk(outside.headers['set-cookie'])
  t.equal((await app.inject({ url: '/app', headers })).body, 'ann')
})
