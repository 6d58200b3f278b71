import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import { type Test, test } from 'tap'
import type { SledSessionOptions } from '../../lib/index.js'
import { createApp, listen, TestClock } from '../support/app.js'

async function site(t: Test, options: SledSessionOptions = {}) {
  const warnings: string[] = []
  const stream = { write: (line: string) => void warnings.push(line) }
  const app = await createApp(t, options, { logger: { level: 'warn', stream } })
  app.get('/set', async ({ session }) => session.set('counter', 1))
  app.get('/stream', async ({ session }) => {
    session.set('counter', 1)
    return Readable.from(['hello'])
  })
  app.get('/read', async ({ session }) => `${session.get('counter')}`)
  app.get('/untouched', async () => 'hello')
  app.get<{ Querystring: { vary: string } }>('/varied', async ({ session, query }, reply) => {
    reply.header('vary', query.vary)
    return `${session.get('counter')}`
  })
  return { app, warnings }
}

test('a response that depends on the session says so, once', async (t) => {
  const { app } = await site(t)
  const set = await app.inject('/set')
  t.equal(set.headers.vary, 'Cookie')
  const cookie = String(set.headers['set-cookie']).split(';')[0] ?? ''
  const vary = async (url: string): Promise<unknown> =>
    (await app.inject({ url, headers: { cookie } })).headers.vary
  t.equal(await vary('/read'), 'Cookie')
  t.equal(await vary('/untouched'), undefined)
  t.equal(await vary('/varied?vary=Accept-Encoding'), 'Accept-Encoding, Cookie')
  t.equal(await vary('/varied?vary=accept,%20cookie'), 'accept, cookie')
  t.equal(await vary('/varied?vary=X-Cookie'), 'X-Cookie, Cookie')
  t.equal(await vary('/varied?vary=*'), '*')
  t.equal((await app.inject('/read')).headers.vary, 'Cookie', 'a stranger might have had one')
})

test('one that only moves the deadline does not depend on it', async (t) => {
  const clock = new TestClock()
  const { app } = await site(t, { now: clock.now })
  const cookie = String((await app.inject('/set')).headers['set-cookie']).split(';')[0] ?? ''
  clock.advance({ seconds: 60 })
  const response = await app.inject({ url: '/untouched', headers: { cookie } })
  t.equal(response.headers.vary, undefined)
})

test('and none does if that is switched off', async (t) => {
  const { app } = await site(t, { vary: false })
  t.equal((await app.inject('/set')).headers.vary, undefined)
})

test('no later hook makes a response with the cookie public', async (t) => {
  for (const noStore of [true, false]) {
    const { app, warnings } = await site(t, { noStore })
    const cache = async (_request: unknown, reply: FastifyReply): Promise<void> => {
      reply.header('cache-control', 'public, max-age=3600')
    }
    app.addHook('onSend', cache)
    app.get('/late', { onSend: cache }, async ({ session }) => session.set('counter', 1))
    const url = await listen(app)
    const wanted = noStore ? 'no-store' : 'public, max-age=3600'
    for (const path of ['/late', '/set', '/stream']) {
      const response = await fetch(url + path)
      t.equal(response.headers.get('cache-control'), wanted, path)
      t.equal(response.headers.getSetCookie().length, 1)
      await response.text()
    }
    const untouched = await fetch(`${url}/untouched`)
    t.equal(untouched.headers.get('cache-control'), 'public, max-age=3600')
    const told = warnings.filter((line) => line.includes('public, max-age=3600'))
    t.equal(told.length, noStore ? 1 : 0, 'and the log says so, once')
  }
})

test('a later hook that keeps it private may say how', async (t) => {
  const { app, warnings } = await site(t)
  app.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'private, max-age=60')
  })
  app.get('/', async ({ session }) => session.set('counter', 1))
  t.equal((await app.inject('/')).headers['cache-control'], 'private, max-age=60')
  t.same(warnings, [])
})
