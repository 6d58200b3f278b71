import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { RedisClient } from '../../../lib/redis.js'
import { settles } from '../../../scripts/servers/until.js'
import { cookieOf, listen } from '../../support/app.js'
import { addCount, CountingVisitors } from '../../support/counting-visitors.js'
import { testWith } from '../../support/needs.js'
import { CLIENTS, clientFor, createRedisApp, redisFor } from '../../support/redis-app.js'
import { proxyFor } from '../../support/redis-proxy.js'

const test = testWith('redis-server')

/** What a request may do to its session. */
const ACTIONS = ['begin', 'count', 'set', 'regenerate', 'login', 'destroy'] as const
type Action = (typeof ACTIONS)[number]

/** What a session has before; whoever has it can see all of it. */
interface Seen {
  readonly count: number
  readonly kept: string | null
  readonly principal: string | null
}
const NONE: Seen = { count: 0, kept: null, principal: null }
const BEFORE: Seen = { count: 1, kept: 'yes', principal: 'ann' }

/** What it has when the action is done. */
const AFTER: Record<Action, Seen> = {
  begin: BEFORE,
  count: { ...BEFORE, count: 2 },
  set: { ...BEFORE, kept: 'now' },
  regenerate: BEFORE,
  login: { ...NONE, principal: 'bob' },
  destroy: NONE
}

function addRoutes(app: FastifyInstance): void {
  app.get('/begin', async ({ session }) => {
    await session.setPrincipal('ann')
    session.set('kept', 'yes')
    session.set('counter', 1)
  })
  app.get('/set', async ({ session }) => session.set('kept', 'now'))
  app.get('/regenerate', async ({ session }) => session.regenerate())
  app.get('/login', async ({ session }) => session.setPrincipal('bob'))
  app.get('/destroy', async ({ session }) => session.destroy())
  app.get('/see', async ({ session }) => ({
    count: session.get('counter') ?? 0,
    kept: session.get('kept') ?? null,
    principal: session.principal
  }))
  addCount(app)
}

/** An application whose connection to Redis can be cut. */
async function behindProxy(t: Test, connect: (t: Test, url: string) => Promise<RedisClient>) {
  const server = await redisFor(t)
  const proxy = await proxyFor(t, server)
  const client = await connect(t, proxy.url)
  const app = await createRedisApp(t, { client }, { storeTimeout: 1500 })
  addRoutes(app)
  const url = await listen(app)
  const get = async (path: string, cookie: string) => {
    const response = await fetch(`${url}/${path}`, { headers: { cookie } })
    const text = await response.text()
    return { status: response.status, cookie: cookieOf(response) ?? cookie, text }
  }
  const see = async (cookie: string): Promise<Seen> => {
    let text = ''
    await settles(async () => {
      const answer = await get('see', cookie)
      text = answer.text
      return answer.status === 200
    })
    return JSON.parse(text) as Seen
  }
  return { app, proxy, get, see, admin: await clientFor(t, server) }
}

type Place = Awaited<ReturnType<typeof behindProxy>>

/** Does it once, and cuts the connection behind one of its commands; false if it needs no more. */
async function cutBehind(t: Test, place: Place, action: Action, command: number) {
  const { app, proxy, get, see, admin } = place
  const before = action === 'begin' ? '' : (await get('begin', '')).cookie
  let commands = 0
  const cuts = proxy.cuts
  void proxy.cutAfter(() => ++commands === command)
  const { status, cookie, text } = await get(action, before)
  proxy.cutNothing()
  if (proxy.cuts === cuts) {
    t.equal(status, 200, text)
    await admin.flushAll()
    return false
  }
  const what = `${action}, cut behind command ${command}, answered with ${status}`
  t.ok(status === 200 || status === 503, what)
  const seen = await see(cookie)
  const done = AFTER[action]
  if (status === 200) t.same(seen, done, `${what}: it is done`)
  else {
    t.equal(cookie, before, `${what}: no cookie is set`)
    const start = action === 'begin' ? NONE : BEFORE
    const mayBe = ['regenerate', 'login', 'begin'].includes(action) ? [start] : [start, done]
    t.ok(
      mayBe.some((state) => same(state, seen)),
      `${what}: ${JSON.stringify(seen)}`
    )
  }
  if (status === 200 && before !== '' && cookie !== before) {
    t.same(await see(before), NONE, `${what}: the old id is dead`)
  }
  // Whoever got no cookie may have left a session that nobody can come back to; it is not listed twice.
  for (const principal of ['ann', 'bob']) {
    const expected = seen.principal === principal ? 1 : 0
    await settles(async () => {
      const listed = await app.sessions.list(principal).catch(() => null)
      return listed !== null && listed.length <= Math.max(expected, action === 'begin' ? 1 : 0)
    }).catch(() => t.fail(`${what}: ${principal} has a ghost in the list`))
  }
  await admin.flushAll()
  return true
}

function same(one: Seen, other: Seen): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

for (const [name, connect] of Object.entries(CLIENTS)) {
  test(`${name}: a connection that is cut behind any command changes nothing twice`, async (t) => {
    const place = await behindProxy(t, connect)
    for (const action of ACTIONS) {
      let command = 1
      while (await cutBehind(t, place, action, command)) command++
      t.ok(command > 1, `${action} takes ${command - 1} commands`)
    }
  })

  test(`${name}: connections that are killed again and again count nobody twice`, async (t) => {
    const server = await redisFor(t)
    const app = await createRedisApp(t, { client: await connect(t, server.url) })
    addCount(app)
    const admin = await clientFor(t, server)
    const visitors = await CountingVisitors.arrive([await listen(app)], 20)
    visitors.start()
    for (let kill = 0; kill < 30; kill++) {
      const from = visitors.acknowledged
      await settles(() => visitors.acknowledged > from + 20)
      await admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'])
      await pause(kill)
    }
    await visitors.stop()
    await visitors.check(t)
  })
}
