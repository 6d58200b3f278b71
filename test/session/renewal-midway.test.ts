import { setImmediate as nextTurn } from 'node:timers/promises'
import type { LightMyRequestResponse } from 'fastify'
import { type Test, test } from 'tap'
import {
  MemoryStore,
  onInactivity,
  type Session,
  type SledSessionOptions
} from '../../lib/index.js'
import { LmdbStore } from '../../lib/lmdb.js'
import { createApp, temporaryFolder } from '../support/app.js'
import { needsFor } from '../support/needs.js'
import { clientFor, createRedisApp, redisFor } from '../support/redis-app.js'

const KINDS: Record<string, (t: Test) => Promise<SledSessionOptions>> = {
  RocksDB: async () => ({}),
  memory: async () => ({ store: new MemoryStore() }),
  LMDB: async (t) => ({ store: new LmdbStore({ path: await temporaryFolder(t) }) }),
  Redis: async () => ({})
}

/** A renewal goes on for some turns of the event loop; what comes then may come at any of them. */
const TURNS = [0, 1, 2, 3, 4, 6, 8]

async function appFor(t: Test, kind: string) {
  return kind === 'Redis'
    ? createRedisApp(t, { client: await clientFor(t, await redisFor(t)) })
    : createApp(t, await KINDS[kind]?.(t))
}

for (const kind of Object.keys(KINDS)) {
  /** Does something so many turns into a renewal; resolves to what the visitor has then. */
  const midway = async (t: Test, act: (session: Session) => unknown) => {
    const app = await appFor(t, kind)
    let turns = 0
    app.get('/begin', async ({ session }) => {
      await session.setPrincipal('bob', { metadata: 'phone' })
      session.set('counter', 1)
    })
    app.get('/', async ({ session }) => {
      const renewing = session.regenerate()
      for (let turn = 0; turn < turns; turn++) await nextTurn()
      await act(session)
      await renewing
    })
    app.get('/see', async ({ session }) => {
      const { principal, metadata, expiry } = session
      return { principal, metadata, expiry, counter: session.get('counter') ?? null }
    })
    const visit = (url: string, id = '') => app.inject({ url, cookies: { id } })
    const cookieIn = (response: LightMyRequestResponse) => response.cookies[0]?.value ?? ''
    return async (count: number) => {
      turns = count
      const id = cookieIn(await visit('/begin'))
      const response = await visit('/', id)
      t.equal(response.statusCode, 200)
      const seen = (await visit('/see', cookieIn(response))).json()
      const sessions = await app.sessions.count()
      for (const name of ['ann', 'bob']) await app.sessions.revokeAll(name)
      t.same((await visit('/see', id)).json().counter, null, 'the old id is dead')
      return { ...seen, sessions }
    }
  }

  test(`${kind}: what is set while a renewal is under way is stored`, needsFor(kind), async (t) => {
    const visit = await midway(t, async (session) => {
      session.metadata = 'tablet'
      session.expiry = onInactivity({ days: 3 })
      session.set('counter', 2)
    })
    const expiry = onInactivity({ days: 3 })
    for (const turns of TURNS) {
      const seen = { principal: 'bob', metadata: 'tablet', expiry, counter: 2, sessions: 1 }
      t.same(await visit(turns), seen, `${turns} turns into it`)
    }
  })

  test(`${kind}: so is a login of then that moves it no further`, needsFor(kind), async (t) => {
    const visit = await midway(t, (session) => {
      return session.setPrincipal('ann', { renew: false, keep: true })
    })
    for (const turns of TURNS) {
      t.match(
        await visit(turns),
        { principal: 'ann', counter: 1, sessions: 1 },
        `${turns} turns into it`
      )
    }
  })

  test(`${kind}: a save while a renewal is under way follows that`, needsFor(kind), async (t) => {
    const visit = await midway(t, async (session) => {
      session.set('counter', 2)
      await session.save()
      session.set('counter', Number(session.get('counter')) + 1)
    })
    for (const turns of TURNS) {
      t.match(
        await visit(turns),
        { principal: 'bob', counter: 3, sessions: 1 },
        `${turns} turns into it`
      )
    }
  })

  test(
    `${kind}: a logout while a renewal is under way ends all of it`,
    needsFor(kind),
    async (t) => {
      const visit = await midway(t, (session) => session.destroy())
      for (const turns of TURNS) {
        t.match(
          await visit(turns),
          { principal: null, counter: null, sessions: 0 },
          `${turns} turns into it`
        )
      }
    }
  )
}
