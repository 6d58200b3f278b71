import type { LightMyRequestResponse } from 'fastify'
import { createClient } from 'redis'
import { type Test, test } from 'tap'
import {
  MemoryStore,
  onInactivity,
  type Session,
  type SledSessionOptions
} from '../../lib/index.js'
import { RedisStore } from '../../lib/redis.js'
import { startRedis } from '../../scripts/servers/redis.js'
import { createApp, TestClock } from '../support/app.js'
import { Gate } from '../support/gate.js'
import { needsFor } from '../support/needs.js'

const kinds: [string, (t: Test) => Promise<SledSessionOptions>][] = [
  ['RocksDB', async () => ({})],
  ['memory', async () => ({ store: new MemoryStore() })],
  [
    'Redis',
    async (t) => {
      const server = await startRedis()
      t.teardown(() => server.stop())
      const client = createClient({ url: server.url })
      await client.connect()
      t.teardown(() => client.destroy())
      return { store: new RedisStore({ client }) }
    }
  ]
]

/** An application, ann's session in it, and what may happen to that while it is updated. */
async function updated(t: Test, options: SledSessionOptions) {
  const app = await createApp(t, options)
  const steps = new Map<string, (session: Session) => unknown>()
  app.get<{ Params: { name: string } }>('/:name', async ({ session, params }) => {
    await steps.get(params.name)?.(session)
    return { who: session.principal, data: Object.fromEntries(session.entries()) }
  })
  let cookie = ''
  const run = async (step: (session: Session) => unknown) => {
    const name = String(steps.size)
    steps.set(name, step)
    const response = await app.inject({ url: `/${name}`, headers: { cookie } })
    cookie = cookieIn(response) || cookie
    return response.json<{ who: string | null; data: Record<string, unknown> }>()
  }
  const handle = async () => (await app.sessions.load(cookie))?.handle ?? ''
  await run(async (session) => {
    await session.setPrincipal('ann')
    session.set('counter', 1)
    session.set('list', ['a'])
  })
  return { sessions: app.sessions, run, handle: await handle() }
}

function cookieIn({ headers }: LightMyRequestResponse): string {
  return String(headers['set-cookie'] ?? '').split(';')[0] ?? ''
}

for (const [kind, optionsFor] of kinds) {
  test(
    `${kind}: a logout that a renewal has overtaken ends the session under its new id`,
    needsFor(kind),
    async (t) => {
      const app = await createApp(t, await optionsFor(t))
      const entered = new Gate()
      const overtaken = new Gate()
      app.get('/in', async ({ session }) => session.setPrincipal('ann'))
      app.get('/renew', async ({ session }) => session.regenerate())
      app.get('/who', async ({ session }) => session.principal ?? 'nobody')
      app.get('/out', async ({ session }) => {
        entered.open()
        await overtaken.opened
        await session.destroy()
      })
      const visit = (url: string, cookie = ''): Promise<LightMyRequestResponse> =>
        app.inject({ url, headers: { cookie } }).then((response) => response)

      const old = cookieIn(await visit('/in'))
      const leaving = visit('/out', old)
      await entered.opened
      const renewed = cookieIn(await visit('/renew', old))
      const again = cookieIn(await visit('/renew', renewed))
      t.equal((await visit('/who', again)).body, 'ann')
      overtaken.open()
      t.equal((await leaving).statusCode, 200)
      for (const cookie of [old, renewed, again]) {
        t.equal((await visit('/who', cookie)).body, 'nobody')
      }
      t.equal(await app.sessions.count('ann'), 0)
    }
  )

  test(
    `${kind}: a logout and a renewal at one time leave no session`,
    needsFor(kind),
    async (t) => {
      const app = await createApp(t, await optionsFor(t))
      app.get('/in', async ({ session }) => session.setPrincipal('ann'))
      app.get('/both', async ({ session }) => {
        const other = await app.sessions.get(session.handle ?? '')
        await Promise.all([session.regenerate(), other?.destroy()])
      })
      const cookie = cookieIn(await app.inject('/in'))
      await app.inject({ url: '/both', headers: { cookie } })
      t.equal(await app.sessions.count('ann'), 0)
    }
  )

  test(
    `${kind}: an update follows its session to a new id, and runs once`,
    needsFor(kind),
    async (t) => {
      const { sessions, run, handle } = await updated(t, await optionsFor(t))
      let runs = 0
      const updating = sessions.update(handle, async (session) => {
        runs++
        const list = session.get<string[]>('list')
        session.set('early', true)
        session.metadata = 'phone'
        session.expiry = onInactivity({ days: 3 })
        for (let renewal = 0; renewal < 2; renewal++) await run((visitor) => visitor.regenerate())
        list?.push('b')
        session.set('counter', Number(session.get('counter')) + 1)
        t.equal(await session.update<number>('sum', (sum = 0) => sum + 5), 5)
        t.equal(session.principal, 'ann')
      })
      t.equal(await updating, true)
      t.equal(runs, 1)
      const { who, data } = await run(() => {})
      t.equal(who, 'ann')
      t.same(data, { counter: 2, list: ['a', 'b'], early: true, sum: 5 })
      const [info, ...others] = await sessions.list('ann')
      t.equal(others.length, 0)
      t.equal(info?.metadata, 'phone')
      t.same((await sessions.get(info?.handle ?? ''))?.expiry, onInactivity({ days: 3 }))
    }
  )

  test(
    `${kind}: an update that only looks, and one that saves itself, follow as well`,
    needsFor(kind),
    async (t) => {
      const { sessions, run, handle } = await updated(t, await optionsFor(t))
      const renewed = await sessions.update(handle, () => run((visitor) => visitor.regenerate()))
      t.equal(renewed, true)
      const [info] = await sessions.list('ann')
      const saving = sessions.update(info?.handle ?? '', async (session) => {
        await run((visitor) => visitor.regenerate())
        session.set('plan', 'pro')
        await session.save()
        session.set('seats', 2)
      })
      t.equal(await saving, true)
      t.match((await run(() => {})).data, { counter: 1, plan: 'pro', seats: 2 })
    }
  )

  test(`${kind}: an update of a session that ends meanwhile says so`, needsFor(kind), async (t) => {
    const clock = new TestClock()
    const { sessions, handle } = await updated(t, { now: clock.now, ...(await optionsFor(t)) })
    const revoking = sessions.update(handle, async (session) => {
      session.set('early', true)
      await sessions.revoke(handle)
      session.set('plan', 'pro')
    })
    t.equal(await revoking, false)
    t.equal(await sessions.get(handle), null)

    const other = await sessions.create({ data: { plan: 'free' }, expiry: onInactivity(1000) })
    const expiring = sessions.update(other.handle ?? '', (session) => {
      clock.advance({ seconds: 2 })
      session.set('plan', 'pro')
    })
    t.equal(await expiring, false)
  })

  test(
    `${kind}: an update of one user's session changes nothing of the next one's`,
    needsFor(kind),
    async (t) => {
      const { sessions, run, handle } = await updated(t, await optionsFor(t))
      const updating = sessions.update(handle, async (session) => {
        await run((visitor) => visitor.setPrincipal('bob'))
        session.set('plan', 'pro')
        session.metadata = "ann's"
      })
      t.equal(await updating, false)
      t.same(await run(() => {}), { who: 'bob', data: {} })
      t.equal((await sessions.list('bob'))[0]?.metadata, undefined)
    }
  )

  test(
    `${kind}: an update that ends a login says when the login goes on under a new id`,
    needsFor(kind),
    async (t) => {
      const { sessions, run, handle } = await updated(t, await optionsFor(t))
      const updating = sessions.update(handle, async (session) => {
        await run((visitor) => visitor.regenerate())
        await session.setPrincipal(null)
      })
      t.equal(await updating, (await sessions.count('ann')) === 0)
    }
  )
}
