// First: what is loaded later finds its intervals held.
import '../support/held-timers.js'

import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import { type Test, test } from 'tap'
import { MemoryStore } from '../../lib/index.js'
import { verify } from '../../lib/store/rocksdb/upkeep/verify.js'
import { until } from '../../scripts/servers/until.js'
import { addCounter, createApp, temporaryFolder } from '../support/app.js'
import { Gate } from '../support/gate.js'
import { passTime } from '../support/held-timers.js'
import { openApplicationDatabase, type Traffic, withDatabase } from '../support/rocksdb.js'

const UNAVAILABLE = { statusCode: 503 }
const LONG_ENOUGH = 11_000

interface SlowApp {
  app: FastifyInstance
  traffic: Traffic
  path: string
  visit: (path?: string, cookie?: string) => Promise<LightMyRequestResponse>
  pass: (milliseconds: number) => void
}

async function slowApp(t: Test): Promise<SlowApp> {
  const pass = passTime
  const path = await temporaryFolder(t)
  const { db, traffic } = await openApplicationDatabase(path)
  const app = await createApp(t, { db })
  app.addHook('onClose', () => db.close())
  addCounter(app)
  app.get('/read', async (request) => String(request.session.get('counter') ?? 'none'))
  app.get('/out', async (request) => request.session.destroy())
  app.get('/in', async (request) => request.session.setPrincipal('ann'))
  const visit = (at = '/', cookie = ''): Promise<LightMyRequestResponse> =>
    // A request begins only when somebody waits for it.
    app.inject({ url: at, headers: { cookie } }).then((response) => response)
  return { app, traffic, path, visit, pass }
}

function cookieIn(response: LightMyRequestResponse): string {
  return String(response.headers['set-cookie'] ?? '').split(';')[0] ?? ''
}

/** Holds back writes until the returned gate opens; `reached` resolves when one is held back. */
function hang(traffic: Traffic): Gate & { reached(): Promise<void> } {
  const gate = new Gate()
  const { writes } = traffic
  traffic.held = { what: 'write', until: gate.opened }
  return Object.assign(gate, { reached: () => until(() => traffic.writes > writes) })
}

test('a write that hangs is a 503, and what it did is read anew when it has ended', async (t) => {
  const { visit, traffic, pass } = await slowApp(t)
  const cookie = cookieIn(await visit())
  t.equal((await visit('/', cookie)).body, 'Current count: 1')

  const gate = hang(traffic)
  const hanging = visit('/', cookie)
  await gate.reached()
  const behind = visit('/', cookie)
  await visit('/read', cookie)
  pass(LONG_ENOUGH)
  for (const response of await Promise.all([hanging, behind])) {
    t.match(response, UNAVAILABLE)
    t.equal(response.headers['set-cookie'], undefined)
  }
  t.match(await visit('/read', cookie), UNAVAILABLE, 'whether it counted is not known yet')
  t.match(await visit('/out', cookie), UNAVAILABLE)
  t.equal((await visit('/read')).statusCode, 200, 'who needs no write is served')

  gate.open()
  traffic.held = null
  await until(async () => (await visit('/read', cookie)).statusCode === 200)
  t.equal(
    (await visit('/read', cookie)).body,
    '3',
    'the first was made, the one behind it left out'
  )
  t.equal((await visit('/', cookie)).body, 'Current count: 3')
})

test('a new session whose write hangs has no cookie', async (t) => {
  const { visit, traffic, pass } = await slowApp(t)
  const gate = hang(traffic)
  const hanging = visit()
  await gate.reached()
  pass(LONG_ENOUGH)
  const response = await hanging
  t.match(response, UNAVAILABLE)
  t.equal(response.headers['set-cookie'], undefined)
  gate.open()
})

test('logouts and logins that hang end in one of the two states, never between', async (t) => {
  const { app, visit, traffic, pass, path } = await slowApp(t)
  for (const [at, first] of [
    ['/out', true],
    ['/out', false],
    ['/in', true],
    ['/in', false]
  ] as const) {
    const cookie = cookieIn(await visit())
    const gate = hang(traffic)
    // The write under way is the hanging one itself, or one that it waits behind.
    const earlier = first ? null : visit('/', cookie)
    if (!first) await gate.reached()
    const hanging = visit(at, cookie)
    await gate.reached()
    await visit('/read')
    pass(LONG_ENOUGH)
    t.match(await hanging, UNAVAILABLE)
    if (earlier !== null) t.match(await earlier, UNAVAILABLE)
    gate.open()
    traffic.held = null
    await until(async () => (await visit('/read', cookie)).statusCode === 200)
    const alive = (await visit('/read', cookie)).body !== 'none'
    t.equal(alive, !first, 'what was not written before it was given up is left out')
  }
  await app.close()
  const found = await withDatabase(path, (db) => verify(db))
  t.match(found, { problems: 0, principalEntries: 1 })
})

test('a read that hangs is a 503, and nobody holds its record when it comes', async (t) => {
  const { app, visit, pass, path } = await slowApp(t)
  const cookie = cookieIn(await visit())
  await app.close()

  const again = await openApplicationDatabase(path)
  const second = await createApp(t, { db: again.db })
  second.addHook('onClose', () => again.db.close())
  addCounter(second)
  const gate = new Gate()
  again.traffic.held = { what: 'read', until: gate.opened }
  const { reads } = again.traffic
  const hanging = second.inject({ url: '/', headers: { cookie } }).then((response) => response)
  await until(() => again.traffic.reads > reads)
  await new Promise((resolve) => setImmediate(resolve))
  pass(LONG_ENOUGH)
  t.match(await hanging, UNAVAILABLE)
  t.equal((await second.inject('/')).statusCode, 200)
  gate.open()
  again.traffic.held = null
  await until(
    async () => (await second.inject({ url: '/', headers: { cookie } })).statusCode === 200
  )
})

test('what waits for a stuck write is bounded, and past the bound the answer comes at once', async (t) => {
  const { app, visit, traffic, pass } = await slowApp(t)
  app.get('/much', async (request) => {
    request.session.set('much', 'x'.repeat(60_000))
    return 'stored'
  })
  const gate = hang(traffic)
  const waiting: Promise<LightMyRequestResponse>[] = []
  for (let n = 0; n < 1300; n++) waiting.push(visit('/much'))
  const refused = await Promise.race([...waiting.slice(1150)])
  t.match(refused, UNAVAILABLE)
  t.match(refused.body, /too many requests wait/)
  pass(LONG_ENOUGH)
  const answers = await Promise.all(waiting)
  t.same(new Set(answers.map(({ statusCode }) => statusCode)), new Set([503]))
  const atOnce = answers.filter(({ body }) => body.includes('too many')).length
  t.ok(atOnce > 150 && atOnce < 400, `${atOnce} of 1300 were refused at once`)
  t.match(await visit('/much'), UNAVAILABLE, 'given up is not yet ended')
  gate.open()
  traffic.held = null
  await until(async () => (await visit('/much')).statusCode === 200)
})

test('a store that is not ours is bound as well', async (t) => {
  const pass = passTime
  const gate = new Gate()
  let held = false
  class SlowStore extends MemoryStore {
    override async save(...args: Parameters<MemoryStore['save']>): Promise<void> {
      if (held) await gate.opened
      await super.save(...args)
    }
  }
  const app = await createApp(t, { store: new SlowStore() })
  addCounter(app)
  const visit = (cookie = '') =>
    app.inject({ url: '/', headers: { cookie } }).then((response) => response)
  const cookie = cookieIn(await visit())
  held = true
  const hanging = visit(cookie)
  await new Promise((resolve) => setImmediate(resolve))
  pass(LONG_ENOUGH)
  t.match(await hanging, UNAVAILABLE)
  t.match(await visit(cookie), UNAVAILABLE)
  held = false
  gate.open()
  await until(async () => (await visit(cookie)).statusCode === 200)
  t.match((await visit(cookie)).body, /Current count: \d/)
})

test('storeTimeout says for how long a request waits', async (t) => {
  const pass = passTime
  const saves: Promise<void>[] = []
  class HangingStore extends MemoryStore {
    override save(): Promise<void> {
      saves.push(new Promise(() => {}))
      return saves.at(-1) as Promise<void>
    }
  }
  const app = await createApp(t, { store: new HangingStore(), storeTimeout: { seconds: 1 } })
  addCounter(app)
  let status = 0
  const hanging = app.inject('/').then((response) => {
    status = response.statusCode
  })
  await until(() => saves.length === 1)
  pass(900)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(status, 0, 'it waits still')
  pass(200)
  await hanging
  t.equal(status, 503)
})

test('a store that never ends does not keep the server from closing', async (t) => {
  const pass = passTime
  const closing = new Gate()
  class StuckStore extends MemoryStore {
    override close(): Promise<void> {
      closing.open()
      return new Promise(() => {})
    }
  }
  const app = await createApp(t, { store: new StuckStore() })
  const closed = app.close().then(
    () => 'closed',
    (error: Error) => error.message
  )
  await closing.opened
  await new Promise((resolve) => setImmediate(resolve))
  pass(LONG_ENOUGH)
  t.match(await closed, /could not close in 5000 ms/)
})
