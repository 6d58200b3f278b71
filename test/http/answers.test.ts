import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import { type Test, test } from 'tap'
import { MemoryStore, type SledSessionOptions, sledSession } from '../../lib/index.js'
import { startRedis } from '../../scripts/servers/redis.js'
import { ANSWERS, type Outcome, serveAnswers } from '../support/answers.js'
import { createApp, TestClock } from '../support/app.js'
import { needs } from '../support/needs.js'
import { CLIENTS, createRedisApp, somePrefix } from '../support/redis-app.js'

const TURNS = 40

/** A store that answers late, and then in the one or the other way. */
class LateStore extends MemoryStore {
  readonly #fails: boolean

  constructor(fails = false) {
    super()
    this.#fails = fails
  }

  override async save(...args: Parameters<MemoryStore['save']>): Promise<void> {
    for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve))
    if (this.#fails) throw new Error('the store has no room')
    return super.save(...args)
  }
}

const change = ({ session }: FastifyRequest): void => session.set('counter', 1)

/** What each of the answers is without the plugin. */
async function answersOfFastify(t: Test): Promise<[name: string, outcome: Outcome][]> {
  const app = Fastify()
  t.teardown(() => app.close())
  const get = await serveAnswers(app, () => {})
  const outcomes: [string, Outcome][] = []
  for (const name of Object.keys(ANSWERS)) outcomes.push([name, await get(name)])
  return outcomes
}

const STORES: Record<string, SledSessionOptions> = {
  'RocksDB, durable against the end of the process': {},
  'RocksDB, durable against a power loss': { durability: 'power' },
  'a store that answers late': { store: new LateStore() }
}

for (const [store, options] of Object.entries(STORES)) {
  test(`answers are as without the plugin: ${store}`, async (t) => {
    const get = await serveAnswers(await createApp(t, options), change)
    for (const [name, outcome] of await answersOfFastify(t)) t.same(await get(name), outcome, name)
  })
}

test('answers are as without the plugin: Redis', needs('redis-server'), async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const client = await CLIENTS.redis?.(t, redis.url)
  if (client === undefined) throw new Error('there is no such client')
  const get = await serveAnswers(await createRedisApp(t, { client, prefix: somePrefix() }), change)
  for (const [name, outcome] of await answersOfFastify(t)) t.same(await get(name), outcome, name)
})

test('where the write fails late, nothing of the answer leaves, and nothing more runs', async (t) => {
  const app = await createApp(t, { store: new LateStore(true) })
  const get = await serveAnswers(app, change)
  for (const [name, { trace }] of await answersOfFastify(t)) {
    const outcome = await get(name)
    t.notMatch(outcome.body, /ok|true|secret|text|forbidden|one/, name)
    t.same(outcome.trace, trace, name)
    t.ok(outcome.status === 'cut off' || outcome.status >= 400, `${name}: ${outcome.status}`)
  }
  t.equal(await app.sessions.count(), 0)
})

test('a visitor whose touch is due is answered as without the plugin', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { store: new LateStore(), now: clock.now })
  app.get('/in', async ({ session }) => session.setPrincipal('ann'))
  const get = await serveAnswers(app, () => {})
  const cookie = String((await app.inject('/in')).headers['set-cookie']).split(';')[0]
  for (const [name, outcome] of await answersOfFastify(t)) {
    clock.advance({ seconds: 61 })
    t.same(await get(name, cookie), outcome, name)
    const [session] = await app.sessions.list('ann')
    t.equal(session?.lastSeenAt.getTime(), clock.time, `${name}: it counts`)
  }
})

test('a hook before the plugin that answers first is heard as it is', async (t) => {
  for (const how of ['return', 'no return'] as const) {
    const app = Fastify()
    t.teardown(() => app.close())
    app.addHook('onRequest', async (_request, reply) => {
      reply.code(429).send('too many')
      if (how === 'return') return reply
    })
    const store = new MemoryStore()
    await app.register(sledSession, { store, secure: false, saveUninitialized: true })
    app.get('/', async () => 'hello')
    const response = await app.inject('/')
    t.equal(response.statusCode, 429, how)
    t.equal(response.body, 'too many')
    t.notOk('set-cookie' in response.headers)
    t.equal(await app.sessions.count(), 0)
  }
})

test('an error of the router is answered as it is', async (t) => {
  const app = await createApp(
    t,
    { saveUninitialized: true },
    {
      frameworkErrors: (error, _request, reply) =>
        void (reply as FastifyReply).code(400).send(error.code)
    }
  )
  const response = await app.inject('/%zz')
  t.equal(response.statusCode, 400)
  t.equal(response.body, 'FST_ERR_BAD_URL')
})
