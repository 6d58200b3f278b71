import { request as httpRequest } from 'node:http'
import Fastify from 'fastify'
import { type Test, test } from 'tap'
import { type ExclusiveOptions, MemoryStore, sledSession } from '../lib/index.js'
import { addCounter, cookieOf, createApp, listen } from './support/app.js'
import { Gate } from './support/gate.js'
import { until } from './support/until.js'

/** An exclusive route whose requests each wait to be let go. */
async function exclusiveApp(t: Test, exclusive: true | ExclusiveOptions) {
  const app = await createApp(t)
  addCounter(app)
  const running: Gate[] = []
  let most = 0
  let now = 0
  app.get('/one', { config: { session: { exclusive } } }, async (request) => {
    most = Math.max(most, ++now)
    const gate = new Gate()
    running.push(gate)
    await gate.opened
    now--
    if ('throws' in (request.query as object)) throw new Error('the handler failed')
    const counter = request.session.get('counter') ?? 0
    request.session.set('counter', counter + 1)
    return { counter }
  })
  const url = await listen(app)
  const login = async () => cookieOf(await fetch(url)) ?? ''
  const get = (cookie: string, path = '/one') => fetch(url + path, { headers: { cookie } })
  return { url, get, login, running, most: () => most }
}

test('requests of one session run one at a time, in the order in which they came', async (t) => {
  const { get, login, running, most } = await exclusiveApp(t, true)
  const cookie = await login()
  const answers = Array.from({ length: 10 }, () => get(cookie))
  for (let turn = 0; turn < 10; turn++) {
    await until(() => running.length > turn)
    running[turn]?.open()
  }
  const counters = await Promise.all(
    answers.map(async (answer) => ((await (await answer).json()) as { counter: number }).counter)
  )
  t.same(
    counters.sort((a, b) => a - b),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
  )
  t.equal(most(), 1)
})

test('other sessions, other routes and strangers are not held up', async (t) => {
  const { get, login, running } = await exclusiveApp(t, true)
  const [ann, bob] = [await login(), await login()]
  const held = get(ann)
  await until(() => running.length === 1)
  t.equal(await (await get(ann, '/')).text(), 'Current count: 1')
  const others = [get(bob), get('')]
  await until(() => running.length === 3)
  for (const gate of running) gate.open()
  for (const answer of [held, ...others]) t.equal((await answer).status, 200)
})

test('past the queue and past the wait there is a 503 with Retry-After', async (t) => {
  const { get, login, running } = await exclusiveApp(t, { maxQueue: 1, maxWait: 50 })
  const cookie = await login()
  const first = get(cookie)
  await until(() => running.length === 1)
  const refused = await Promise.all([get(cookie), get(cookie)])
  for (const response of refused) {
    t.equal(response.status, 503)
    t.equal(response.headers.get('retry-after'), '1')
    t.match(await response.json(), { code: 'SLED_SESSION_BUSY' })
  }
  running[0]?.open()
  t.equal((await first).status, 200)
  const next = get(cookie)
  await until(() => running.length === 2)
  running[1]?.open()
  t.equal((await next).status, 200, 'and then it is free again')
})

test('a request that throws gives back its turn', async (t) => {
  const { get, login, running } = await exclusiveApp(t, true)
  const cookie = await login()
  const answers = [get(cookie, '/one?throws'), get(cookie)]
  await until(() => running.length === 1)
  running[0]?.open()
  await until(() => running.length === 2)
  running[1]?.open()
  t.same((await Promise.all(answers)).map(({ status }) => status).sort(), [200, 500])
})

test('a client that goes away gives back its turn, running or waiting', async (t) => {
  const { url, get, login, running } = await exclusiveApp(t, true)
  const cookie = await login()
  const abortable = () => {
    const client = httpRequest(`${url}/one`, { headers: { cookie } })
    client.on('error', () => {})
    client.end()
    return client
  }
  const first = abortable()
  await until(() => running.length === 1)
  const second = abortable()
  const third = get(cookie)
  second.destroy()
  first.destroy()
  await until(() => running.length === 2)
  running[1]?.open()
  t.equal((await third).status, 200)
  t.equal(running.length, 2, 'who went away while waiting never ran')
})

test('whoever waits behind a logout finds a fresh session', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  const waiting = new Gate()
  const held = new Gate()
  const config = { session: { exclusive: true } }
  app.get('/logout', { config }, async (request) => {
    held.open()
    await waiting.opened
    await request.session.destroy()
    return 'out'
  })
  app.get('/one', { config }, async (request) => {
    const before = { isNew: request.session.isNew, counter: request.session.get('counter') ?? null }
    request.session.set('counter', 100)
    return before
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const out = fetch(`${url}/logout`, { headers: { cookie } })
  await held.opened
  const late = fetch(`${url}/one`, { headers: { cookie } })
  // Both requests were sent; the second is queued once the server has counted it.
  await until(() => app.server.listening && connections(app.server) === 2)
  waiting.open()
  await out
  const response = await late
  t.same(await response.json(), { isNew: true, counter: null })
  t.not(cookieOf(response), cookie)
})

function connections(server: object): number {
  return (server as { _connections: number })._connections
}

test('wrong limits fail when the route is added', async (t) => {
  for (const exclusive of [
    { maxQueue: -1 },
    { maxWait: 0 },
    { maxQueue: 1.5 },
    { wait: 5 },
    'yes'
  ]) {
    const app = Fastify()
    await app.register(sledSession, { store: new MemoryStore() })
    const config = { session: { exclusive: exclusive as ExclusiveOptions } }
    t.throws(() => app.get('/', { config }, async () => ''), {
      code: 'SLED_SESSION_INVALID_OPTION',
      message: /config.session.exclusive/
    })
    await app.close()
  }
})
