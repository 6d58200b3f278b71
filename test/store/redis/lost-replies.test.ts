import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { OVERWRITE, SWAP } from '../../../lib/store/redis/scripts.js'
import { until } from '../../../scripts/servers/until.js'
import { testWith } from '../../support/needs.js'
import { begin, CLIENTS, clientFor, createRedisApp, redisFor } from '../../support/redis-app.js'
import { proxyFor } from '../../support/redis-proxy.js'

const test = testWith('redis-server')

/** With as many digits as what is counted up to, before something long: only its beginning changes. */
const FIRST = 100

/** It knows the scripts already, so that what runs next is the change. */
async function serverBehindProxy(t: Test) {
  const server = await redisFor(t)
  const admin = await clientFor(t, server)
  for (const { text } of [SWAP, OVERWRITE]) await admin.sendCommand(['SCRIPT', 'LOAD', text])
  return { server, proxy: await proxyFor(t, server) }
}

/** The requests of one visitor, who keeps the cookie that was set last. */
function visitorOf(app: FastifyInstance, id: string) {
  let cookies = { id }
  return async (url: string) => {
    const response = await app.inject({ url, cookies })
    const cookie = response.cookies[0]
    if (cookie !== undefined) cookies = { id: cookie.value }
    return response
  }
}

for (const [name, connect] of Object.entries(CLIENTS)) {
  test(`${name}: an update whose reply is lost counts once if it is acknowledged`, async (t) => {
    const { server, proxy } = await serverBehindProxy(t)
    const app = await createRedisApp(t, { client: await connect(t, proxy.url) })
    const other = await createRedisApp(t, { client: await clientFor(t, server) })
    for (const each of [app, other]) {
      each.get('/', async ({ session }) => session.update('counter', (counter = 0) => counter + 1))
    }
    const { id, handle } = await begin(app, (session) => {
      session.set('counter', FIRST)
      session.set('rest', 'x'.repeat(1000))
    })
    const visit = visitorOf(app, id)
    const elsewhere = visitorOf(other, id)
    let acknowledged = 0
    let unknown = 0
    for (let round = 0; round < 5; round++) {
      const cut = proxy.cutAfter(OVERWRITE.sha)
      const visiting = visit('/')
      await cut
      // Another process writes before the client has connected again.
      if (round % 2 === 0) acknowledged += Number((await elsewhere('/')).statusCode === 200)
      const { statusCode } = await visiting
      if (statusCode === 200) acknowledged++
      else {
        t.equal(statusCode, 503)
        unknown++
      }
      await until(async () => (await other.sessions.get(handle)) !== null)
      await until(async () => {
        const { statusCode } = await visit('/')
        if (statusCode === 200) acknowledged++
        return statusCode === 200
      })
    }
    const counter = Number((await other.sessions.get(handle))?.get('counter')) - FIRST
    t.ok(
      counter >= acknowledged && counter <= acknowledged + unknown,
      `${counter} of ${acknowledged}`
    )
    if (name === 'ioredis') t.equal(unknown, 0, 'it sends again what was under way')
  })

  test(`${name}: a renewal whose reply is lost is answered right, or has not happened`, async (t) => {
    const { server, proxy } = await serverBehindProxy(t)
    const app = await createRedisApp(t, { client: await connect(t, proxy.url) })
    app.get('/login', async ({ session }) => session.setPrincipal('ann', { keep: true }))
    app.get('/', async ({ session }) => ({
      counter: session.get('counter') ?? null,
      principal: session.principal
    }))
    const { id } = await begin(app, (session) => session.set('counter', 1))
    const visit = visitorOf(app, id)
    const cut = proxy.cutAfter(SWAP.sha)
    const login = visit('/login')
    await cut
    const { statusCode, cookies } = await login
    await until(async () => (await visit('/')).statusCode === 200)
    const principal = statusCode === 200 ? 'ann' : null
    t.same((await visit('/')).json(), { counter: 1, principal })
    t.equal(statusCode, name === 'ioredis' ? 200 : 503)
    t.equal(cookies.length, statusCode === 200 ? 1 : 0)
    const other = await createRedisApp(t, { client: await clientFor(t, server) })
    t.equal((await other.sessions.list('ann')).length, principal === null ? 0 : 1)
    t.equal(await other.sessions.count(), 1, 'no other is left behind')
    t.equal((await other.inject({ url: '/', cookies: { id } })).statusCode, 404)
  })

  test(`${name}: a session whose renewal was lost and that ended meanwhile stays ended`, async (t) => {
    const { server, proxy } = await serverBehindProxy(t)
    const client = await connect(t, proxy.url)
    const app = await createRedisApp(t, { client }, { storeTimeout: 1000 })
    app.get('/renew', async ({ session }) => session.regenerate())
    app.get('/', async ({ session }) => ({ principal: session.principal }))
    const { id } = await begin(app, (session) => void session.setPrincipal('ann'))
    const visit = visitorOf(app, id)
    const cut = proxy.cutAfter(SWAP.sha)
    const renewal = visit('/renew')
    await cut
    proxy.close(true)
    t.equal((await renewal).statusCode, 503)
    const other = await createRedisApp(t, { client: await clientFor(t, server) })
    t.equal(await other.sessions.revokeAll('ann'), 1)
    proxy.close(false)
    await until(async () => (await visit('/')).statusCode === 200)
    t.same((await visit('/')).json(), { principal: null })
    t.equal(await other.sessions.count(), 0)
    t.same(await other.sessions.list('ann'), [])
  })
}

test('a renewal that was taken back does not come about when the client tries it again', async (t) => {
  const real = await clientFor(t, await redisFor(t))
  for (const script of [SWAP, OVERWRITE]) await real.sendCommand(['SCRIPT', 'LOAD', script.text])
  for (const runs of [true, false]) {
    let lost: string[] | null = null
    const client = {
      isReady: true,
      async sendCommand(args: string[]): Promise<unknown> {
        if (lost !== null || args[1] !== SWAP.sha) return real.sendCommand(args)
        lost = args
        if (runs) await real.sendCommand(args)
        throw new Error('the connection is lost')
      }
    }
    const app = await createRedisApp(t, { client })
    app.get('/renew', async ({ session }) => session.regenerate())
    app.get('/', async ({ session }) => ({ counter: session.get('counter') ?? null }))
    const { id } = await begin(app, (session) => session.set('counter', 1))
    const visit = visitorOf(app, id)
    t.equal((await visit('/renew')).statusCode, 503)
    t.same((await visit('/')).json(), { counter: 1 })
    await real.sendCommand(lost ?? [])
    t.same((await visit('/')).json(), { counter: 1 }, runs ? 'it had run' : 'it had not run')
  }
})

test('an update that is sent twice counts once though its clock is behind', async (t) => {
  const real = await clientFor(t, await redisFor(t))
  for (const script of [SWAP, OVERWRITE]) await real.sendCommand(['SCRIPT', 'LOAD', script.text])
  const other = await createRedisApp(t, { client: real })
  other.get('/', async ({ session }) => session.update('counter', (counter = 0) => counter + 1))
  let id = ''
  let twice = true
  const client = {
    isReady: true,
    async sendCommand(args: string[]): Promise<unknown> {
      const reply = await real.sendCommand(args)
      if (args[1] !== OVERWRITE.sha || !twice) return reply
      twice = false
      t.equal((await other.inject({ url: '/', cookies: { id } })).statusCode, 200)
      return real.sendCommand(args)
    }
  }
  const app = await createRedisApp(t, { client }, { now: () => Date.now() - 120_000 })
  app.get('/', async ({ session }) => session.update('counter', (counter = 0) => counter + 1))
  const begun = await begin(app, (session) => {
    session.set('counter', FIRST)
    session.set('rest', 'x'.repeat(1000))
  })
  id = begun.id
  t.equal((await app.inject({ url: '/', cookies: { id } })).statusCode, 200)
  t.equal(twice, false)
  t.equal((await other.sessions.get(begun.handle))?.get('counter'), FIRST + 2)
})
