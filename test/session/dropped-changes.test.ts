import type { FastifyInstance } from 'fastify'
import { type Test, test } from 'tap'
import { MemoryStore, onInactivity, type SledSessionOptions } from '../../lib/index.js'
import { createApp, TestClock } from '../support/app.js'
import { Gate } from '../support/gate.js'
import { begin, settle } from '../support/touches.js'

const SECOND = 1000
const HOUR = 3600 * SECOND
const expiry = onInactivity({ hours: 1 })

async function site(t: Test, place: SledSessionOptions, options: SledSessionOptions = {}) {
  const clock = new TestClock()
  const app = await createApp(t, {
    now: clock.now,
    expiry,
    saveOnError: false,
    ...place,
    ...options
  })
  app.get('/read', async ({ session }) => ({
    principal: session.principal,
    metadata: session.metadata ?? null,
    expiry: session.expiry,
    counter: session.get('counter')
  }))
  const { cookie, handle } = await begin(app)
  const get = async (url: string) => {
    const response = await app.inject({ url, headers: { cookie } })
    return { status: response.statusCode, set: `${response.headers['set-cookie']}`, response }
  }
  const stored = async () => {
    await settle(app)
    let text = ''
    for await (const piece of app.sessions.export()) text += piece
    for (const line of text.split('\n').filter((line) => line.includes('"handle"'))) {
      const { handle: of, lastSeenAt, expiresAt, ...rest } = JSON.parse(line)
      if (of !== handle) continue
      return { ...rest, seen: Date.parse(lastSeenAt), ends: Date.parse(expiresAt) }
    }
    return null
  }
  return { app, clock, get, stored, handle }
}

/** A handler that makes its changes, and ends when it is told to. */
function held(
  app: FastifyInstance,
  path: string,
  change: Parameters<typeof handlerOf>[0],
  ok: boolean
) {
  const [half, rest] = [new Gate(), new Gate()]
  const handle = handlerOf(change)
  app.get(path, async ({ session }) => {
    await handle(session)
    half.open()
    await rest.opened
    if (!ok) throw new Error('the handler failed')
    return 'done'
  })
  return { half, rest }
}

type AnySession = Awaited<ReturnType<FastifyInstance['sessions']['create']>>

function handlerOf(change: (session: AnySession) => unknown) {
  return change
}

const PLACES: Record<string, () => SledSessionOptions> = {
  memory: () => ({ store: new MemoryStore() }),
  RocksDB: () => ({})
}

for (const [name, place] of Object.entries(PLACES)) {
  for (const seconds of [20, 365 * 24 * 3600]) {
    test(`an expiry of ${seconds} s that is dropped moves no deadline: ${name}`, async (t) => {
      const { app, clock, get, stored } = await site(t, place())
      app.get('/fails', async ({ session }) => {
        session.expiry = onInactivity({ seconds })
        throw new Error('the handler failed')
      })
      app.get('/reloads', async ({ session }) => {
        session.expiry = onInactivity({ seconds })
        await session.reload()
        return session.expiresAt?.getTime()
      })
      clock.advance({ seconds: 61 })
      const { status, set } = await get('/fails')
      t.equal(status, 500)
      t.match(set, /Max-Age=3660;/, 'an hour and the touch interval')
      t.match(await stored(), { expiry: null, seen: clock.time, ends: clock.time + HOUR })
      clock.advance({ seconds: 61 })
      t.equal((await get('/reloads')).response.body, `${clock.time + HOUR}`)
      t.match(await stored(), { expiry: null, seen: clock.time, ends: clock.time + HOUR })
    })
  }

  test(`without rolling, nothing that is dropped counts as activity: ${name}`, async (t) => {
    const { app, clock, get, stored } = await site(t, place(), { rolling: false })
    const begun = clock.time
    app.get('/expiry', async ({ session }) => {
      session.expiry = onInactivity({ days: 1 })
      throw new Error('the handler failed')
    })
    app.get('/touch', async ({ session }) => {
      session.touch()
      throw new Error('the handler failed')
    })
    for (const path of ['/expiry', '/touch']) {
      clock.advance({ seconds: 61 })
      t.equal((await get(path)).status, 500)
      t.match(await stored(), { expiry: null, seen: begun, ends: begun + HOUR }, path)
    }
  })

  test(`a login that is dropped does not begin the absolute timeout anew: ${name}`, async (t) => {
    const { app, clock, get, stored } = await site(t, place(), { absoluteTimeout: { hours: 2 } })
    const begun = clock.time
    app.get('/fails', async ({ session }) => {
      await session.setPrincipal('bob', { renew: false })
      throw new Error('the handler failed')
    })
    for (const minute of [50, 100]) {
      clock.advance({ seconds: 50 * 60 })
      t.equal((await get('/fails')).status, 500)
      const ends = Math.min(clock.time + HOUR, begun + 2 * HOUR)
      t.match(await stored(), { principal: 'ann', ends }, `minute ${minute}`)
    }
  })

  for (const first of ['fails', 'saves']) {
    test(`what a parallel request has set outlives one that fails: ${name}, ${first} first`, async (t) => {
      const { app, clock, get, stored } = await site(t, place())
      const failing = held(app, '/fails', (session) => session.set('extra', 1), false)
      const login = held(
        app,
        '/login',
        async (session) => {
          await session.setPrincipal('bob', { renew: false, metadata: 'of bob' })
          session.expiry = onInactivity({ hours: 5 })
          session.set('counter', 7)
        },
        true
      )
      const order = { fails: failing, saves: login }
      const answers = []
      for (const path of first === 'fails' ? ['/fails', '/login'] : ['/login', '/fails']) {
        answers.push(get(path))
        await (path === '/fails' ? order.fails : order.saves).half.opened
      }
      failing.rest.open()
      await Promise.race(answers)
      const half = (await get('/read')).response.json()
      t.match(
        half,
        { principal: 'bob', metadata: 'of bob', counter: 7 },
        'nor is it lost meanwhile'
      )
      login.rest.open()
      t.same((await Promise.all(answers)).map(({ status }) => status).sort(), [200, 500])
      t.match(await stored(), {
        principal: 'bob',
        expiry: { kind: 'inactivity', milliseconds: 5 * HOUR },
        ends: clock.time + 5 * HOUR
      })
      t.match((await get('/read')).response.json(), { metadata: 'of bob', counter: 7 })
    })
  }

  test(`what a parallel request has set over it outlives one that fails: ${name}`, async (t) => {
    const { app, get, stored } = await site(t, place())
    const failing = held(
      app,
      '/fails',
      async (session) => {
        session.set('counter', 6)
        session.metadata = 'half'
        session.expiry = onInactivity({ days: 365 })
        await session.setPrincipal('eve', { renew: false, keep: true })
      },
      false
    )
    const saving = held(
      app,
      '/saves',
      async (session) => {
        session.set('counter', 7)
        session.metadata = 'whole'
        session.expiry = onInactivity({ hours: 5 })
      },
      true
    )
    const failed = get('/fails')
    await failing.half.opened
    const saved = get('/saves')
    await saving.half.opened
    failing.rest.open()
    t.equal((await failed).status, 500)
    saving.rest.open()
    t.equal((await saved).status, 200)
    const fiveHours = { kind: 'inactivity', milliseconds: 5 * HOUR }
    const expected = { principal: 'ann', metadata: 'whole', expiry: fiveHours, counter: 7 }
    t.same((await get('/read')).response.json(), expected)
    t.match(await stored(), { principal: 'ann', expiry: fiveHours })
  })
}

test('nothing of it is stored when its session is filed anew meanwhile', async (t) => {
  const { app, clock, get, stored } = await site(t, {})
  const failing = held(app, '/fails', (session) => session.set('counter', 100), false)
  clock.advance({ seconds: 30 * 60 })
  await get('/read')
  await stored()
  clock.advance({ seconds: 31 * 60 })
  const failed = get('/fails')
  await failing.half.opened
  t.equal(await app.sessions.deleteExpired(), 0)
  t.match(await stored(), { data: { counter: 1 } })
  failing.rest.open()
  t.equal((await failed).status, 500)
  t.match((await get('/read')).response.json(), { counter: 1 })
  await stored()
  t.equal(await app.sessions.deleteExpired(), 0)
  clock.advance({ seconds: 2 * 3600 })
  t.equal(await app.sessions.deleteExpired(), 1, 'nor is it forgotten')
})

/** A store that fails while it is told to. */
class FailingStore extends MemoryStore {
  fails = false

  override async read(handle: string): ReturnType<MemoryStore['read']> {
    this.#check()
    return super.read(handle)
  }

  override async save(...args: Parameters<MemoryStore['save']>): Promise<void> {
    this.#check()
    await super.save(...args)
  }

  #check(): void {
    if (this.fails) throw new Error('the disk is gone')
  }
}

test('what could not be taken back is nothing that others read or store', async (t) => {
  const store = new FailingStore()
  const { app, get } = await site(t, { store })
  app.get('/set', async ({ session }) => session.set('other', 1))
  const failing = held(app, '/fails', (session) => session.set('counter', 100), false)
  const failed = get('/fails')
  await failing.half.opened
  store.fails = true
  failing.rest.open()
  t.equal((await failed).status, 500)
  store.fails = false
  t.match((await get('/read')).response.json(), { counter: 1 })
  await get('/set')
  t.match((await get('/read')).response.json(), { counter: 1 })
})

test('after a write that failed, a later one brings back nothing that others have changed', async (t) => {
  const store = new FailingStore()
  const { app, clock, get, stored, handle } = await site(t, { store })
  app.get('/logout', async ({ session }) => session.setPrincipal(null, { renew: false }))
  const kept = await app.sessions.get(handle)
  if (kept === null) throw new Error('no session')
  store.fails = true
  kept.metadata = 'lost'
  await t.rejects(kept.save(), { code: 'SLED_SESSION_STORE_UNAVAILABLE' })
  store.fails = false
  t.equal((await get('/logout')).status, 200)
  clock.advance({ seconds: 61 })
  kept.expiry = onInactivity({ hours: 5 })
  kept.set('counter', 2)
  await kept.save()
  t.match((await get('/read')).response.json(), { principal: null, metadata: null, counter: 2 })
  t.match(await stored(), { principal: null, ends: clock.time + 5 * HOUR })
})
