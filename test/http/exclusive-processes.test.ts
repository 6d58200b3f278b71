import type { FastifyInstance } from 'fastify'
import { type Test, test } from 'tap'
import type { SessionStore } from '../../lib/index.js'
import { startRedis } from '../../scripts/servers/redis.js'
import { until } from '../../scripts/servers/until.js'
import { cookieOf, createApp, listen } from '../support/app.js'
import { startChild } from '../support/child.js'
import { Gate } from '../support/gate.js'
import { lmdbStoreOfAnotherProcess, temporaryFolder } from '../support/lmdb.js'
import { needsFor } from '../support/needs.js'
import { CLIENTS, redisStoreOfAnotherProcess, somePrefix } from '../support/redis-app.js'

/** Makes stores of several processes in one place. */
const PLACES: Record<string, (t: Test) => Promise<() => Promise<SessionStore>>> = {
  async LMDB(t) {
    const path = await temporaryFolder(t)
    return () => lmdbStoreOfAnotherProcess({ path })
  },
  async Redis(t) {
    const server = await startRedis()
    t.teardown(() => server.stop())
    const client = await CLIENTS.ioredis?.(t, server.url)
    if (client === undefined) throw new Error('there is such a client')
    const prefix = somePrefix()
    return () => redisStoreOfAnotherProcess({ client, prefix })
  }
}

interface Process {
  readonly app: FastifyInstance
  /** Asks with a cookie and resolves to the answer. */
  ask(path: string, cookie: string): Promise<Response>
}

/** What all processes have seen. */
interface Seen {
  readonly running: Gate[]
  most: number
  now: number
  renewed?: string
}

async function startProcess(t: Test, store: SessionStore, seen: Seen): Promise<Process> {
  const app = await createApp(t, { store })
  const config = { session: { exclusive: true } }
  app.get('/', async ({ session }) => {
    session.set('counter', (session.get('counter') ?? 0) + 1)
    return { counter: session.get('counter') }
  })
  app.get('/one', { config }, async ({ session }) => {
    seen.now++
    seen.most = Math.max(seen.most, seen.now)
    const gate = new Gate()
    seen.running.push(gate)
    await gate.opened
    session.set('counter', (session.get('counter') ?? 0) + 1)
    seen.now--
    return { counter: session.get('counter') }
  })
  app.get('/renew', { config }, async ({ session }) => {
    await session.regenerate()
    const gate = new Gate()
    seen.renewed = session.id ?? ''
    seen.running.push(gate)
    await gate.opened
    return { renewed: true }
  })
  app.get('/login', async ({ session }) => {
    await session.setPrincipal('ann')
    return { counter: session.get('counter') }
  })
  const url = await listen(app)
  return { app, ask: (path, cookie) => fetch(url + path, { headers: { cookie } }) }
}

for (const [name, createPlace] of Object.entries(PLACES)) {
  test(
    `exclusive routes are exclusive over all processes of a store: ${name}`,
    needsFor(name),
    async (t) => {
      const createStore = await createPlace(t)
      const seen: Seen = { running: [], most: 0, now: 0 }
      const one = await startProcess(t, await createStore(), seen)
      const other = await startProcess(t, await createStore(), seen)
      const begin = async (): Promise<string> => cookieOf(await one.ask('/', '')) ?? ''

      await t.test(
        'one request at a time, and each sees what the one before has set',
        async (t) => {
          const cookie = await begin()
          const answers = [one, other, one, other].map((each) => each.ask('/one', cookie))
          for (let at = 0; at < answers.length; at++) {
            await until(() => seen.running.length > 0)
            seen.running.shift()?.open()
          }
          const counters = await Promise.all(
            answers.map(
              async (answer) => ((await (await answer).json()) as { counter: number }).counter
            )
          )
          t.same(counters.sort(), [2, 3, 4, 5])
          t.equal(seen.most, 1)
        }
      )

      await t.test('another session does not wait', async (t) => {
        const [mine, yours] = [await begin(), await begin()]
        const first = one.ask('/one', mine)
        await until(() => seen.running.length === 1)
        const second = other.ask('/one', yours)
        await until(() => seen.running.length === 2)
        for (const gate of seen.running.splice(0)) gate.open()
        t.equal((await first).status, 200)
        t.equal((await second).status, 200)
      })

      await t.test(
        'a login in another process waits, and keeps what the route has set',
        async (t) => {
          const cookie = await begin()
          const held = one.ask('/one', cookie)
          await until(() => seen.running.length === 1)
          const login = other.ask('/login', cookie)
          seen.running.shift()?.open()
          t.equal((await held).status, 200)
          const answer = await login
          t.equal(answer.status, 200)
          const after = await one.ask('/', cookieOf(answer) ?? '')
          t.same(await after.json(), { counter: 3 })
        }
      )
    }
  )
}

test('a process that is killed in an exclusive route holds its turn for seconds at most', async (t) => {
  const path = await temporaryFolder(t)
  const child = startChild(t, 'test/fixtures/lmdb-server.ts', { STORAGE: path })
  const [, url = ''] = await child.line(/listening on (.*)/)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const lost = fetch(`${url}/hold`, { headers: { cookie } }).catch(() => 'lost')
  await child.line(/^holding$/)
  const seen: Seen = { running: [], most: 0, now: 0 }
  const survivor = await startProcess(t, await lmdbStoreOfAnotherProcess({ path }), seen)
  const waiting = survivor.ask('/one', cookie)
  await child.stop('SIGKILL')
  t.equal(await lost, 'lost')
  await until(() => seen.running.length === 1)
  seen.running.shift()?.open()
  t.equal((await waiting).status, 200)
})
