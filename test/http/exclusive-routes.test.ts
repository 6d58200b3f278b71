import { request as httpRequest } from 'node:http'
import Fastify from 'fastify'
import { type Test, test } from 'tap'
import { type ExclusiveOptions, MemoryStore, sledSession } from '../../lib/index.js'
import { until } from '../../scripts/servers/until.js'
import { addCounter, cookieOf, createApp, listen } from '../support/app.js'
import { Gate } from '../support/gate.js'

/** A request that has its turn, held until its gate opens. */
class Running extends Gate {
  readonly name: string

  constructor(name: string) {
    super()
    this.name = name
  }
}

/** Exclusive routes, of a handler each, whose requests wait to be let go. */
async function exclusiveApp(t: Test, exclusive: true | ExclusiveOptions) {
  const app = await createApp(t)
  addCounter(app)
  const running: Running[] = []
  const seen = { arrived: 0, gone: 0 }
  const config = { session: { exclusive } }
  // Before the route's own hook, and in the same tick: who has arrived is in the queue.
  app.addHook('preHandler', (request, reply, done) => {
    if (request.routeOptions.config.session) seen.arrived++
    reply.raw.once('close', () => seen.gone++)
    done()
  })
  const hold = async (name: string): Promise<void> => {
    const held = new Running(name)
    running.push(held)
    await held.opened
  }
  app.get<{ Params: { name: string } }>('/one/:name', { config }, async ({ params, session }) => {
    await hold(params.name)
    const counter = session.get('counter') ?? 0
    session.set('counter', counter + 1)
    return { counter }
  })
  app.get('/throws', { config }, async () => {
    await hold('throws')
    throw new Error('the handler failed')
  })
  app.get('/hijack', { config }, (_request, reply) => {
    reply.hijack()
    hold('hijack').then(() => reply.raw.end('raw'))
  })
  app.get('/logout', { config }, async ({ session }) => {
    await hold('logout')
    await session.destroy()
  })
  app.get('/new', { config }, async ({ session }) => ({ isNew: session.isNew, size: session.size }))

  const url = await listen(app)
  const login = async () => cookieOf(await fetch(url)) ?? ''
  const get = (cookie: string, path: string, method = 'GET') =>
    fetch(url + path, { headers: { cookie }, method })
  /** Sends a request, and resolves when it has its turn or queues for it. */
  const queue = async (cookie: string, path: string, method = 'GET') => {
    const before = seen.arrived
    const answer = get(cookie, path, method)
    await until(() => seen.arrived > before)
    return { answer }
  }
  /** As `queue`; resolves to how to go away. */
  const queueAbortable = async (cookie: string, path: string) => {
    const { arrived, gone } = seen
    const client = httpRequest(url + path, { headers: { cookie } })
    client.on('error', () => {})
    client.end()
    await until(() => seen.arrived > arrived)
    return async () => {
      client.destroy()
      await until(() => seen.gone > gone)
    }
  }
  return { app, login, get, queue, queueAbortable, running }
}

test('requests of one session run one at a time, in the order in which they came', async (t) => {
  const { login, queue, running } = await exclusiveApp(t, true)
  const cookie = await login()
  const names = ['a', 'b', 'c', 'd', 'e']
  const queued: { answer: Promise<Response> }[] = []
  for (const name of names) queued.push(await queue(cookie, `/one/${name}`))
  for (const [turn, { answer }] of queued.entries()) {
    await until(() => running.length > turn)
    t.equal(running.length, turn + 1, 'the others wait')
    running[turn]?.open()
    t.same(await (await answer).json(), { counter: turn + 1 })
  }
  t.same(
    running.map(({ name }) => name),
    names
  )
})

test('a session has one turn for all its exclusive routes, HEAD included', async (t) => {
  const { login, queue, running } = await exclusiveApp(t, true)
  const cookie = await login()
  const first = await queue(cookie, '/one/a')
  const head = await queue(cookie, '/one/b', 'HEAD')
  const other = await queue(cookie, '/new')
  t.equal(running.length, 1)
  running[0]?.open()
  await until(() => running.length === 2)
  running[1]?.open()
  for (const { answer } of [first, head, other]) t.equal((await answer).status, 200)
})

test('other sessions, other routes and strangers are not held up', async (t) => {
  const { login, get, queue, running } = await exclusiveApp(t, true)
  const [ann, bob] = [await login(), await login()]
  const held = [await queue(ann, '/one/ann'), await queue(bob, '/one/bob')]
  held.push(await queue('', '/one/stranger'), await queue('', '/one/stranger'))
  t.equal(running.length, 4)
  t.equal(await (await get(ann, '/')).text(), 'Current count: 1')
  for (const gate of running) gate.open()
  for (const { answer } of held) t.equal((await answer).status, 200)
})

test('past the queue there is a 503 with Retry-After, and who was in it is served', async (t) => {
  const { login, get, queue, running } = await exclusiveApp(t, { maxQueue: 1 })
  const cookie = await login()
  const served = [await queue(cookie, '/one/a'), await queue(cookie, '/one/b')]
  const refused = await get(cookie, '/one/c')
  t.equal(refused.status, 503)
  t.equal(refused.headers.get('retry-after'), '1')
  t.match(await refused.json(), { code: 'SLED_SESSION_BUSY', message: /too many/ })
  for (const turn of [0, 1]) {
    await until(() => running.length > turn)
    running[turn]?.open()
  }
  for (const { answer } of served) t.equal((await answer).status, 200)
  t.equal((await get(cookie, '/new')).status, 200, 'and then it is free again')
  t.equal(running.length, 2, 'who was refused never ran')
})

test('past the wait there is a 503 with Retry-After, and its place in the queue is free', async (t) => {
  const { login, get, queue, running } = await exclusiveApp(t, { maxQueue: 1, maxWait: 20 })
  const cookie = await login()
  const first = await queue(cookie, '/one/a')
  for (const name of ['b', 'c']) {
    const refused = await get(cookie, `/one/${name}`)
    t.equal(refused.status, 503)
    t.equal(refused.headers.get('retry-after'), '1')
    t.match(await refused.json(), { code: 'SLED_SESSION_BUSY', message: /too long/ })
  }
  running[0]?.open()
  t.equal((await first.answer).status, 200)
  t.equal(running.length, 1, 'who was refused never ran')
})

test('a request whose handler throws gives back its turn', async (t) => {
  const { login, queue, running } = await exclusiveApp(t, true)
  const cookie = await login()
  const [failing, next] = [await queue(cookie, '/throws'), await queue(cookie, '/new')]
  running[0]?.open()
  t.equal((await failing.answer).status, 500)
  t.equal((await next.answer).status, 200)
})

test('a hijacked request has its turn until its response ends', async (t) => {
  const { login, get, queue, running } = await exclusiveApp(t, true)
  const cookie = await login()
  const [raw, next] = [await queue(cookie, '/hijack'), await queue(cookie, '/one/next')]
  t.equal(await (await get(cookie, '/')).text(), 'Current count: 1')
  t.same(
    running.map(({ name }) => name),
    ['hijack'],
    'its handler has returned long since'
  )
  running[0]?.open()
  t.equal(await (await raw.answer).text(), 'raw')
  await until(() => running.length === 2)
  running[1]?.open()
  t.equal((await next.answer).status, 200)
})

test('a client that goes away while it waits leaves the queue', async (t) => {
  const { login, get, queue, queueAbortable, running } = await exclusiveApp(t, { maxQueue: 1 })
  const cookie = await login()
  const first = await queue(cookie, '/one/first')
  const goAway = await queueAbortable(cookie, '/one/aborted')
  t.equal((await get(cookie, '/one/early')).status, 503, 'it took the only place')
  await goAway()
  const late = await queue(cookie, '/one/late')
  running[0]?.open()
  await until(() => running.length === 2)
  running[1]?.open()
  for (const { answer } of [first, late]) t.equal((await answer).status, 200)
  t.same(
    running.map(({ name }) => name),
    ['first', 'late']
  )
})

test('a client that goes away keeps its turn until its handler has ended', async (t) => {
  const { login, get, queue, queueAbortable, running } = await exclusiveApp(t, { maxWait: 50 })
  const cookie = await login()
  const goAway = await queueAbortable(cookie, '/one/aborted')
  await goAway()
  const busy = await get(cookie, '/one/late')
  t.equal(busy.status, 503, 'maxWait is the way out')
  const next = await queue(cookie, '/one/next')
  t.equal(running.length, 1)
  running[0]?.open()
  await until(() => running.length === 2)
  running[1]?.open()
  t.same(await (await next.answer).json(), { counter: 2 }, 'what the first has changed is there')
})

test('whoever waits behind a logout finds a fresh session', async (t) => {
  const { login, queue, running } = await exclusiveApp(t, true)
  const cookie = await login()
  const [out, late] = [await queue(cookie, '/logout'), await queue(cookie, '/new')]
  running[0]?.open()
  t.match(cookieOf(await out.answer), /^id=$/)
  t.same(await (await late.answer).json(), { isNew: true, size: 0 })
})

test('wrong settings fail when the route is added', async (t) => {
  const limits = [{ maxQueue: -1 }, { maxWait: 0 }, { maxQueue: 1.5 }, { wait: 5 }, 'yes', null]
  const wrong = [...limits, { maxWait: 2 ** 31 }].map((exclusive) => ({ exclusive }))
  for (const session of [...wrong, null]) {
    const app = Fastify()
    await app.register(sledSession, { store: new MemoryStore() })
    const config = { session: session as { exclusive: ExclusiveOptions } }
    t.throws(() => app.get('/', { config }, async () => ''), {
      code: 'SLED_SESSION_INVALID_OPTION',
      message: /config\.session/
    })
    await app.close()
  }
})
