import type { FastifyInstance } from 'fastify'
import { type Test, test } from 'tap'
import { MemoryStore, type SledSessionOptions } from '../../lib/index.js'
import { startRedis } from '../../scripts/servers/redis.js'
import { createApp } from '../support/app.js'
import { needsFor } from '../support/needs.js'
import { CLIENTS, createRedisApp, somePrefix } from '../support/redis-app.js'

/** Handlers that change the session and then throw. */
function site(app: FastifyInstance) {
  app.get('/set', async ({ session }) => session.set('list', ['first']))
  app.get('/get', async ({ session }) => session.entries())
  app.get('/throws', async ({ session }) => {
    session.set('counter', 1)
    session.get<string[]>('list')?.push('second')
    session.metadata = 'changed'
    throw new Error('the handler failed')
  })
  app.get('/saves', async ({ session }) => {
    session.set('saved', true)
    await session.save()
    session.set('counter', 1)
    throw new Error('the handler failed')
  })
  app.get('/renews', async ({ session }) => {
    await session.regenerate()
    session.set('counter', 1)
    throw new Error('the handler failed')
  })
  app.get('/ends', async ({ session }) => {
    await session.destroy()
    session.set('counter', 1)
    throw new Error('the handler failed')
  })
  app.get('/forbidden', async ({ session }, reply) => {
    session.set('attempts', 1)
    reply.code(403)
  })
  return async (path: string, cookie = '') => {
    const response = await app.inject({ url: path, headers: { cookie } })
    const set = response.headers['set-cookie']
    return { ...response, json: response.json, status: response.statusCode, set: set?.toString() }
  }
}

const cookieIn = ({ set = '' }: { set?: string | undefined }): string => set.split(';')[0] ?? ''

const STORES: Record<string, (t: Test, options: SledSessionOptions) => Promise<FastifyInstance>> = {
  RocksDB: createApp,
  memory: (t, options) => createApp(t, { store: new MemoryStore(), ...options }),
  Redis: async (t, options) => {
    const redis = await startRedis()
    t.teardown(() => redis.stop())
    const client = await CLIENTS.redis?.(t, redis.url)
    if (client === undefined) throw new Error('there is no such client')
    return createRedisApp(t, { client, prefix: somePrefix() }, options)
  }
}

for (const [name, create] of Object.entries(STORES)) {
  test(
    `with saveOnError: false a 5xx stores nothing that was set for it: ${name}`,
    needsFor(name),
    async (t) => {
      const app = await create(t, { saveOnError: false })
      const get = site(app)
      const stranger = await get('/throws')
      t.equal(stranger.status, 500)
      t.equal(stranger.set, undefined)
      t.equal(await app.sessions.count(), 0)

      const cookie = cookieIn(await get('/set'))
      const known = await get('/throws', cookie)
      t.equal(known.status, 500)
      t.equal(known.set, undefined)
      t.same((await get('/get', cookie)).json(), [['list', ['first']]])
      await get('/forbidden', cookie)
      const stored = [
        ['list', ['first']],
        ['attempts', 1]
      ]
      t.same((await get('/get', cookie)).json(), stored, 'nor does a later save')
      t.equal((await app.sessions.load(cookie))?.metadata, undefined)
    }
  )

  test(
    `what was saved, renewed or ended before a 5xx stays so: ${name}`,
    needsFor(name),
    async (t) => {
      const get = site(await create(t, { saveOnError: false }))
      const cookie = cookieIn(await get('/saves'))
      t.same((await get('/get', cookie)).json(), [['saved', true]])
      const renewed = cookieIn(await get('/renews', cookie))
      t.not(renewed, cookie)
      t.same((await get('/get', renewed)).json(), [['saved', true]])
      t.same((await get('/get', cookie)).json(), [])
      t.match((await get('/ends', renewed)).set, /^id=;/)
      t.same((await get('/get', renewed)).json(), [])
    }
  )
}

test('by default a 5xx stores what was set for it', async (t) => {
  const get = site(await createApp(t, { store: new MemoryStore() }))
  const cookie = cookieIn(await get('/throws'))
  t.same((await get('/get', cookie)).json(), [['counter', 1]])
})

test('a 5xx begins no session with saveUninitialized and saveOnError: false', async (t) => {
  const store = new MemoryStore()
  const app = await createApp(t, { store, saveUninitialized: true, saveOnError: false })
  const get = site(app)
  t.equal((await get('/throws')).set, undefined)
  t.match((await get('/get')).set, /^id=/)
  t.equal(await app.sessions.count(), 1)
})

test('a 5xx leaves alone the cookie of a login that was made meanwhile', async (t) => {
  const app = await createApp(t, { store: new MemoryStore(), saveOnError: false })
  const get = site(app)
  let loggedIn = (): void => {}
  const login = new Promise<void>((resolve) => {
    loggedIn = resolve
  })
  app.get('/slow', async ({ session }) => {
    session.set('counter', 1)
    await login
    throw new Error('the handler failed')
  })
  app.get('/login', async ({ session }) => session.setPrincipal('ann'))
  const cookie = cookieIn(await get('/set'))
  const slow = get('/slow', cookie)
  t.match((await get('/login', cookie)).set, /^id=./)
  loggedIn()
  const failed = await slow
  t.equal(failed.status, 500)
  t.equal(failed.set, undefined, 'it would log the visitor out')
})
