import tap, { type Test, test } from 'tap'
import {
  MemoryStore,
  onInactivity,
  onSessionEnd,
  type Session,
  type SledSessionOptions
} from '../../lib/index.js'
import { RedisStore } from '../../lib/redis.js'
import { startRedis } from '../../scripts/servers/redis.js'
import { TestClock } from '../support/app.js'
import { needs, needsFor } from '../support/needs.js'
import { CLIENTS, redisStoreOfAnotherProcess, somePrefix } from '../support/redis-app.js'
import { bind, visitor } from '../support/visitor.js'

type Place = (t: Test) => Promise<SledSessionOptions>

let redis: ReturnType<typeof startRedis> | undefined
tap.teardown(async () => (await redis)?.stop())

const STORES: Record<string, Place> = {
  RocksDB: async () => ({}),
  memory: async () => ({ store: new MemoryStore() }),
  async Redis(t) {
    redis ??= startRedis()
    const client = await CLIENTS.redis?.(t, (await redis).url)
    if (client === undefined) throw new Error('no client')
    return { store: new RedisStore({ client, prefix: somePrefix() }) }
  }
}

const HOURS = 3600

function seen(session: Session) {
  const { principal, metadata = null, expiry } = session
  return { principal, metadata, keys: session.keys().sort(), expiry: expiry.kind }
}

async function loggedIn(t: Test, options: SledSessionOptions) {
  const bound = bind(await visitor(t, options))
  await bound.run(async ({ session }) => {
    session.set('cart', 'book')
    session.set('theme', 'dark')
    session.expiry = onInactivity({ days: 30 })
    await session.setPrincipal('ann', { metadata: 'phone' })
  })
  return bound
}

for (const [kind, place] of Object.entries(STORES)) {
  test(
    `${kind}: regenerate that does not keep all logs out, whatever it keeps`,
    needsFor(kind),
    async (t) => {
      const none = { principal: null, metadata: null, expiry: 'session-end' }
      for (const [options, keys] of [
        [{ keep: ['theme'] }, ['theme']],
        [['theme'], ['theme']],
        [{ keep: [] }, []],
        [{ keep: false }, []]
      ] as const) {
        const { run, who } = await loggedIn(t, await place(t))
        const before = who.cookie
        await run(async ({ session, server }) => {
          await session.regenerate(options)
          t.equal(session.principal, null, 'at once')
          t.same(await server.sessions.list('ann'), [])
        })
        t.not(who.cookie, before)
        t.same(await run(({ session }) => seen(session)), { ...none, keys })
      }
      const { run } = await loggedIn(t, await place(t))
      await run(({ session }) => session.regenerate())
      t.same(await run(({ session }) => seen(session)), {
        principal: 'ann',
        metadata: 'phone',
        keys: ['cart', 'theme'],
        expiry: 'inactivity'
      })
    }
  )

  test(`${kind}: what one user leaves does not reach the next one`, needsFor(kind), async (t) => {
    for (const renew of [true, false]) {
      const { run } = await loggedIn(t, await place(t))
      await run(({ session }) => session.setPrincipal('bob', { renew }))
      t.same(await run(({ session }) => seen(session)), {
        principal: 'bob',
        metadata: null,
        keys: [],
        expiry: 'session-end'
      })
    }
  })

  test(`${kind}: nor does it by way of nobody`, needsFor(kind), async (t) => {
    for (const renew of [true, false]) {
      const { run } = await loggedIn(t, await place(t))
      await run(({ session }) => session.setPrincipal(null, { renew }))
      t.same(await run(({ session }) => seen(session)).then(({ keys }) => keys), [])
      await run(({ session }) => session.setPrincipal('bob', { renew }))
      t.match(await run(({ session }) => seen(session)), {
        principal: 'bob',
        metadata: null,
        keys: []
      })
    }
  })

  test(`${kind}: keep names what stays`, needsFor(kind), async (t) => {
    for (const renew of [true, false]) {
      for (const [keep, keys] of [
        [['theme', 'nothing'], ['theme']],
        [true, ['cart', 'theme']],
        [false, []]
      ] as const) {
        const { run } = await loggedIn(t, await place(t))
        await run(({ session }) => session.setPrincipal('bob', { renew, keep, metadata: 'laptop' }))
        t.match(await run(({ session }) => seen(session)), {
          principal: 'bob',
          metadata: 'laptop',
          keys
        })
      }
    }
  })

  test(
    `${kind}: from nobody to somebody data stays, unless keep says otherwise`,
    needsFor(kind),
    async (t) => {
      for (const [keep, keys] of [
        [undefined, ['cart', 'theme']],
        [['cart'], ['cart']],
        [false, []]
      ] as const) {
        const { run } = bind(await visitor(t, await place(t)))
        await run(({ session }) => {
          session.set('cart', 'book')
          session.set('theme', 'dark')
        })
        await run(async ({ session }) => {
          session.expiry = onInactivity({ days: 30 })
          await session.setPrincipal('ann', keep === undefined ? {} : { keep })
        })
        t.same(await run(({ session }) => seen(session)), {
          principal: 'ann',
          metadata: null,
          keys,
          expiry: 'inactivity'
        })
        await run(({ session }) => session.setPrincipal('ann'))
        t.same(await run(({ session }) => session.keys().sort()), keys, 'the same user again')
      }
    }
  )

  test(
    `${kind}: a login begins the absolute timeout anew, and a renewal does not`,
    needsFor(kind),
    async (t) => {
      for (const renew of [true, false]) {
        const clock = new TestClock()
        const options = { now: clock.now, absoluteTimeout: { hours: 12 } }
        const { run } = bind(await visitor(t, { ...options, ...(await place(t)) }))
        const visit = async () => run(({ session }) => session.principal)
        await run(({ session }) => {
          session.set('cart', 'book')
          t.equal(session.authenticatedAt, null)
        })
        clock.advance({ seconds: 11 * HOURS })
        const login = new Date(clock.time)
        await run(async ({ session }) => {
          await session.setPrincipal('ann', { renew })
          t.same([session.authenticatedAt, session.createdAt], [login, login])
        })
        clock.advance({ seconds: 6 * HOURS })
        t.equal(await visit(), 'ann')
        await run(async ({ session, server }) => {
          t.same(session.authenticatedAt, login)
          t.same((await server.sessions.list('ann'))[0]?.createdAt, login)
          await session.setPrincipal('ann', { renew })
          await session.regenerate()
          t.same(session.authenticatedAt, login, 'the same user again is no login')
        })
        clock.advance({ seconds: 6 * HOURS - 1 })
        t.equal(await visit(), 'ann')
        clock.advance({ seconds: 1 })
        t.equal(await visit(), null)
      }
    }
  )
}

test('an expiry that this request has set is for whoever logs in', async (t) => {
  const { run } = await loggedIn(t, {})
  await run(async ({ session }) => {
    session.expiry = onInactivity({ days: 7 })
    await session.setPrincipal('bob')
  })
  t.same(await run(({ session }) => session.expiry), onInactivity({ days: 7 }))
  await run(({ session }) => session.setPrincipal('ann'))
  t.same(await run(({ session }) => session.expiry), onSessionEnd())
})

test('clear leaves everything but the data', async (t) => {
  const { run, who } = await loggedIn(t, {})
  const before = who.cookie
  await run(({ session }) => session.clear())
  t.equal(who.cookie, before)
  t.same(await run(({ session }) => seen(session)), {
    principal: 'ann',
    metadata: 'phone',
    keys: [],
    expiry: 'inactivity'
  })
})

test(
  'on a store of several processes, what another one sets for a user does not stay either',
  needs('redis-server'),
  async (t) => {
    redis ??= startRedis()
    const client = await CLIENTS.redis?.(t, (await redis).url)
    if (client === undefined) throw new Error('no client')
    const prefix = somePrefix()
    const one = bind(await visitor(t, { store: new RedisStore({ client, prefix }) }))
    const elsewhere = await redisStoreOfAnotherProcess({ client, prefix })
    const other = bind(await visitor(t, { store: elsewhere }))
    for (const renew of [true, false]) {
      one.who.cookie = ''
      await one.run(({ session }) => session.set('cart', 'book'))
      other.who.cookie = one.who.cookie
      await one.run(async ({ session }) => {
        await other.run(async (request) => {
          request.session.set('secret', 'of ann')
          await request.session.setPrincipal('ann', { renew: false })
        })
        await session.setPrincipal('bob', { renew })
      })
      t.match(await one.run(({ session }) => seen(session)), { principal: 'bob' })
      t.notOk(await one.run(({ session }) => session.has('secret')), `renew: ${renew}`)
    }
  }
)
