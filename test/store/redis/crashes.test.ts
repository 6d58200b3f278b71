import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { RedisStore } from '../../../lib/redis.js'
import type { RedisProcess } from '../../../scripts/servers/redis.js'
import { testWith } from '../../support/needs.js'
import { CLIENTS, clientFor, createRedisApp, redisFor } from '../../support/redis-app.js'
import { proxyFor } from '../../support/redis-proxy.js'

const test = testWith('redis-server')
const CONTEXT = { now: Date.now, log: { debug() {}, info() {}, warn() {}, error() {} } }
const USERS = ['ann', 'bob']

function addRoutes(app: FastifyInstance): void {
  app.get('/begin', async ({ session }) => session.set('kept', 'yes'))
  app.get('/ann', async ({ session }) => session.setPrincipal('ann'))
  app.get('/bob', async ({ session }) => session.setPrincipal('bob'))
  app.get('/nobody', async ({ session }) => session.setPrincipal(null))
  app.get('/regenerate', async ({ session }) => session.regenerate())
  app.get('/set', async ({ session }) => session.set('more', 'yes'))
  app.get('/destroy', async ({ session }) => session.destroy())
  app.get('/revoke', async () => app.sessions.revokeAll('ann'))
  app.get('/see', async ({ session }) => ({
    kept: session.get('kept') ?? null,
    principal: session.principal
  }))
}

/** By what a session has become what it is, and in which of its requests a process dies. */
const LIVES = [
  ['ann'],
  ['begin', 'ann'],
  ['ann', 'bob'],
  ['ann', 'nobody'],
  ['ann', 'regenerate'],
  ['ann', 'set'],
  ['ann', 'destroy'],
  ['ann', 'revoke']
]

/** A process of its own on a server: as long as its connection is not cut for good. */
async function startProcess(t: Test, server: RedisProcess) {
  const proxy = await proxyFor(t, server)
  const client = await CLIENTS.redis?.(t, proxy.url)
  if (client === undefined) throw new Error('no client')
  const app = await createRedisApp(t, { client }, { storeTimeout: 500 })
  addRoutes(app)
  return { app, proxy }
}

async function visit(app: FastifyInstance, path: string, id: string) {
  const response = await app.inject({ url: `/${path}`, ...(id === '' ? {} : { cookies: { id } }) })
  const { statusCode, cookies, body } = response
  return { status: statusCode, id: cookies[0]?.value ?? id, body }
}

/** What is stored of each user, whatever the lists say. */
async function ownersIn(store: RedisStore): Promise<Map<string, string>> {
  const owners = new Map<string, string>()
  for await (const { handle, principal } of store.records()) {
    if (principal !== null) owners.set(handle, principal)
  }
  return owners
}

async function missing(store: RedisStore): Promise<string[]> {
  const listed = new Map<string, Set<string>>()
  for (const user of USERS) {
    const handles = new Set<string>()
    for await (const batch of store.handlesOf(user)) for (const handle of batch) handles.add(handle)
    listed.set(user, handles)
  }
  const owners = [...(await ownersIn(store))]
  return owners.filter(([handle, user]) => !listed.get(user)?.has(handle)).map(([, user]) => user)
}

test('whoever dies behind any command leaves nothing that a logout everywhere misses', async (t) => {
  const server = await redisFor(t)
  const admin = await clientFor(t, server)
  const other = await createRedisApp(t, { client: admin })
  addRoutes(other)
  const store = new RedisStore({ client: await clientFor(t, server) })
  await store.open(CONTEXT)

  for (const life of LIVES) {
    let command = 1
    for (; ; command++) {
      await admin.flushAll()
      const { app, proxy } = await startProcess(t, server)
      let id = ''
      for (const step of life.slice(0, -1)) id = (await visit(app, step, id)).id
      let commands = 0
      void proxy.cutAfter(() => ++commands === command).then(() => proxy.close(true))
      const { status, id: fresh } = await visit(app, life.at(-1) ?? '', id)
      const what = `${life.join(', ')}, dead behind command ${command}, answered with ${status}`
      const died = proxy.cuts > 0
      t.ok(died ? status === 503 || status === 200 : status === 200, what)
      t.same(await missing(store), [], `${what}: the lists have all`)
      if (id !== '' && fresh !== id) {
        const { body } = await visit(other, 'see', id)
        t.match(JSON.parse(body), { kept: null, principal: null }, `${what}: the old id is dead`)
      }
      const left = await visit(other, 'see', fresh)
      t.equal(left.status, 200, what)
      for (const user of USERS) await other.sessions.revokeAll(user)
      t.equal((await ownersIn(store)).size, 0, `${what}: all were logged out`)
      if (!died) break
    }
    t.ok(command > 1, `${life.join(', ')}: ${command - 1} commands`)
  }
})
