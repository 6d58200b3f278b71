import type { FastifyInstance } from 'fastify'
import { type Test, test } from 'tap'
import { type Expiry, MemoryStore, onInactivity } from '../../lib/index.js'
import { LmdbStore } from '../../lib/lmdb.js'
import { createApp, temporaryFolder } from '../support/app.js'

const HOUR = 3_600_000
const expiry = onInactivity({ hours: 1 })

const STORES: Record<string, (t: Test, path: string) => Promise<FastifyInstance>> = {
  RocksDB: (t, path) => createApp(t, { path }),
  LMDB: (t, path) => createApp(t, { store: new LmdbStore({ path }) })
}

function spoil(expiry: Expiry): void {
  ;(expiry as { milliseconds: number }).milliseconds = 1
}

for (const [name, create] of Object.entries(STORES)) {
  test(`no request changes the expiry that others have: ${name}`, async (t) => {
    const path = await temporaryFolder(t)
    const before = await create(t, path)
    const session = await before.sessions.create({ data: { counter: 1 }, expiry })
    const [cookie = ''] = before.sessions.cookieOf(session).split(';')
    await before.close()
    // It has to be decoded here, and is then what all requests get.
    const app = await create(t, path)
    app.get('/spoil', async ({ session }) => spoil(session.expiry))
    app.get('/read', async ({ session }) => session.expiry)
    const get = async (url: string) => app.inject({ url, headers: { cookie } })
    t.same((await get('/read')).json(), expiry)
    t.equal((await get('/spoil')).statusCode, 500)
    t.same((await get('/read')).json(), expiry)
  })
}

test('an expiry that is given stays as it is, whatever its giver does with it', async (t) => {
  const given = { kind: 'inactivity', milliseconds: HOUR } as const
  const app = await createApp(t, { store: new MemoryStore(), expiry: given })
  const session = await app.sessions.create({ data: { counter: 1 } })
  const own = { kind: 'inactivity', milliseconds: 2 * HOUR } as const
  const other = await app.sessions.create({ data: { counter: 1 }, expiry: own })
  spoil(given)
  spoil(own)
  t.same(session.expiry, onInactivity(HOUR))
  t.same(other.expiry, onInactivity(2 * HOUR))
})

test('a length of time in parts is no expiry', async (t) => {
  const app = await createApp(t, { store: new MemoryStore() })
  const session = await app.sessions.create({ data: { counter: 1 } })
  const parts = { kind: 'inactivity', milliseconds: { hours: 1 } } as unknown as Expiry
  t.throws(
    () => {
      session.expiry = parts
    },
    { code: 'SLED_SESSION_INVALID_EXPIRY' }
  )
})
