import type { FastifyInstance } from 'fastify'
import { type Test, test } from 'tap'
import type { SledSessionOptions } from '../../lib/index.js'
import { createApp, temporaryFolder } from '../support/app.js'
import { lmdbStoreOfAnotherProcess } from '../support/lmdb.js'
import { needsFor } from '../support/needs.js'
import { clientFor, createRedisApp, redisFor, somePrefix } from '../support/redis-app.js'

type Processes = (t: Test, options: SledSessionOptions) => Promise<FastifyInstance[]>

/** Two processes that have the same sessions. */
const PAIRS: Record<string, Processes> = {
  LMDB: async (t, options) => {
    const path = await temporaryFolder(t)
    const create = async () =>
      createApp(t, { store: await lmdbStoreOfAnotherProcess({ path }), ...options })
    return [await create(), await create()]
  },
  Redis: async (t, options) => {
    const place = { client: await clientFor(t, await redisFor(t)), prefix: somePrefix() }
    return [await createRedisApp(t, place, options), await createRedisApp(t, place, options)]
  }
}

for (const [name, pair] of Object.entries(PAIRS)) {
  test(
    `what parallel requests set together stays within the size limit: ${name}`,
    needsFor(name),
    async (t) => {
      const apps = await pair(t, { maxRecordSize: 20_000 })
      const [one, other] = apps as [FastifyInstance, FastifyInstance]
      for (const app of apps) {
        app.get('/begin', async ({ session }) => session.set('a', 1))
        app.get('/renew', async ({ session }) => session.regenerate())
        app.get<{ Params: { key: string } }>('/set/:key', async ({ session, params }) =>
          session.set(params.key, 'x'.repeat(3000))
        )
        app.get<{ Params: { key: string } }>('/update/:key', async ({ session, params }) => {
          await session.update(params.key, () => 'x'.repeat(3000))
        })
      }
      const id = (await one.inject('/begin')).cookies[0]?.value ?? ''
      const responses = await Promise.all(
        Array.from({ length: 40 }, (_, at) =>
          (at % 2 ? one : other).inject({
            url: `/${at % 3 ? 'set' : 'update'}/key${at}`,
            cookies: { id }
          })
        )
      )
      const stored = await other.sessions.get(id)
      const acknowledged = responses.filter(({ statusCode }) => statusCode === 200).length
      t.equal(acknowledged, 6, 'as many as there is room for')
      t.equal(stored?.entries().length, acknowledged + 1, 'and each of them is stored')
      for (const response of responses) {
        if (response.statusCode !== 200)
          t.match(response.json(), { code: 'SLED_SESSION_TOO_LARGE' })
      }
      t.equal((await one.inject({ url: '/renew', cookies: { id } })).statusCode, 200)
    }
  )
}
