import type { LightMyRequestResponse } from 'fastify'
import { createClient } from 'redis'
import { type Test, test } from 'tap'
import { MemoryStore, type SledSessionOptions } from '../../lib/index.js'
import { RedisStore } from '../../lib/redis.js'
import { createApp } from '../support/app.js'
import { Gate } from '../support/gate.js'
import { startRedis } from '../support/redis.js'

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

function cookieIn({ headers }: LightMyRequestResponse): string {
  return String(headers['set-cookie'] ?? '').split(';')[0] ?? ''
}

for (const [kind, optionsFor] of kinds) {
  test(`${kind}: a logout that a renewal has overtaken ends the session under its new id`, async (t) => {
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
  })

  test(`${kind}: a logout and a renewal at one time leave no session`, async (t) => {
    const app = await createApp(t, await optionsFor(t))
    app.get('/in', async ({ session }) => session.setPrincipal('ann'))
    app.get('/both', async ({ session }) => {
      const other = await app.sessions.get(session.handle ?? '')
      await Promise.all([session.regenerate(), other?.destroy()])
    })
    const cookie = cookieIn(await app.inject('/in'))
    await app.inject({ url: '/both', headers: { cookie } })
    t.equal(await app.sessions.count('ann'), 0)
  })
}
