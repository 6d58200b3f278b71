// First: what is loaded later finds its intervals held.
import '../support/held-timers.js'

import type { FastifyInstance } from 'fastify'
import { type Test, test } from 'tap'
import { MemoryStore, onInactivity, type SledSessionOptions } from '../../lib/index.js'
import { until } from '../../scripts/servers/until.js'
import { createApp, TestClock, temporaryFolder } from '../support/app.js'
import { passTime } from '../support/held-timers.js'
import { lmdbStoreOfAnotherProcess } from '../support/lmdb.js'
import { needsFor } from '../support/needs.js'
import {
  clientFor,
  createRedisApp,
  redisFor,
  redisStoreOfAnotherProcess,
  somePrefix
} from '../support/redis-app.js'
import { begin, readFrom, type Stored, serve, settle, timesOf } from '../support/touches.js'

const SECOND = 1000
const expiry = onInactivity({ minutes: 30 })

interface Place {
  /** Another process of the same sessions; where there can be none, the same one. */
  create(): Promise<FastifyInstance>
  read(handle: string): Promise<Stored | null>
}

/** Where sessions are kept, and how many processes write there. */
const PLACES: Record<string, (t: Test, options: SledSessionOptions) => Promise<Place>> = {
  memory: async (t, options) => {
    const store = new MemoryStore()
    const app = await createApp(t, { store, ...options })
    return { create: async () => app, read: async (handle) => timesOf(await store.read(handle)) }
  },
  RocksDB: async (t, options) => {
    const path = await temporaryFolder(t)
    const app = await createApp(t, { path, ...options })
    return { create: async () => app, read: (handle) => readFrom(path, handle) }
  },
  LMDB: async (t, options) => {
    const path = await temporaryFolder(t)
    const create = async () =>
      createApp(t, { store: await lmdbStoreOfAnotherProcess({ path }), ...options })
    return { create, read: (handle) => readFrom(path, handle) }
  },
  Redis: async (t, options) => {
    const client = await clientFor(t, await redisFor(t))
    const prefix = somePrefix()
    const store = await redisStoreOfAnotherProcess({ client, prefix })
    const create = () => createRedisApp(t, { client, prefix }, options)
    const { now = Date.now } = options
    const log = { debug() {}, info() {}, warn() {}, error() {} }
    await store.open({ now, log })
    return { create, read: async (handle) => timesOf(await store.read(handle)) }
  }
}

for (const [name, place] of Object.entries(PLACES)) {
  const there = needsFor(name)

  for (const path of ['/read', '/look']) {
    test(`that a session was used is stored a second later: ${path}, ${name}`, there, async (t) => {
      const clock = new TestClock()
      const { create, read } = await place(t, { now: clock.now, expiry })
      const app = await create()
      const get = serve(app)
      const { cookie, handle } = await begin(app)
      const began = clock.time
      clock.advance({ seconds: 61 })
      const answer = await get(path, cookie)
      t.equal(answer.status, 200)
      t.match(answer.set, /^id=.*; Max-Age=1860;/, 'the cookie is told at once')
      t.equal((await read(handle))?.seen, began)
      passTime(SECOND)
      await until(async () => (await read(handle))?.seen === clock.time)
      t.equal((await read(handle))?.ends, clock.time + 30 * 60 * SECOND)
    })
  }

  test(`a session that ends in between stays so: ${name}`, there, async (t) => {
    const clock = new TestClock()
    const { create, read } = await place(t, { now: clock.now, expiry })
    const [app, other] = [await create(), await create()]
    const get = serve(app)
    const { cookie, handle } = await begin(app)
    clock.advance({ seconds: 61 })
    await get('/read', cookie)
    t.equal(await other.sessions.revoke(handle), true)
    passTime(SECOND)
    await settle(app)
    t.equal(await read(handle), null)
    t.equal(await other.sessions.count('ann'), 0)
    t.equal((await get('/read', cookie)).body, 'undefined')
  })

  test(`what another request stores in between stays: ${name}`, there, async (t) => {
    const clock = new TestClock()
    const { create, read } = await place(t, { now: clock.now, expiry })
    const [app, other] = [await create(), await create()]
    const get = serve(app)
    const late = app === other ? get : serve(other)
    const { cookie, handle } = await begin(app)
    clock.advance({ seconds: 61 })
    await get('/read', cookie)
    clock.advance({ milliseconds: 500 })
    await late('/set', cookie)
    await late('/long', cookie)
    const before = await read(handle)
    t.same(before, { seen: clock.time, ends: clock.time + 30 * 86_400 * SECOND })
    passTime(SECOND)
    await settle(app)
    t.same(await read(handle), before)
    t.equal((await late('/read', cookie)).body, '2')
  })

  test(`a renewal in between leaves nothing of the old id: ${name}`, there, async (t) => {
    const clock = new TestClock()
    const { create, read } = await place(t, { now: clock.now, expiry })
    const [app, other] = [await create(), await create()]
    const get = serve(app)
    const renew = app === other ? get : serve(other)
    const { cookie, handle } = await begin(app)
    clock.advance({ seconds: 61 })
    await get('/read', cookie)
    const renewed = (await renew('/renew', cookie)).cookie
    passTime(SECOND)
    await settle(app)
    t.equal(await read(handle), null)
    t.equal(await other.sessions.count('ann'), 1)
    t.equal((await get('/read', renewed)).body, '1')
    t.equal((await get('/read', cookie)).body, 'undefined')
  })

  test(`close stores what waits: ${name}`, there, async (t) => {
    const clock = new TestClock()
    const { create, read } = await place(t, { now: clock.now, expiry })
    const app = await create()
    const get = serve(app)
    const { cookie, handle } = await begin(app)
    clock.advance({ seconds: 61 })
    await get('/look', cookie)
    await app.close()
    t.equal((await read(handle))?.seen, name === 'memory' ? undefined : clock.time)
  })
}
