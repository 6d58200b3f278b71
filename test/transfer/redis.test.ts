import { copySessions, openSessionStore, type SessionStore } from '../../lib/index.js'
import { connectRedisStore } from '../../lib/redis.js'
import { createApp, temporaryFolder } from '../support/app.js'
import { testWith } from '../support/needs.js'
import { clientFor, createRedisApp, redisFor } from '../support/redis-app.js'

const test = testWith('redis-server')

test('moving from RocksDB to Redis, and back, keeps every cookie valid', async (t) => {
  const path = await temporaryFolder(t)
  const server = await redisFor(t)
  const before = await createApp(t, { path })
  before.get('/', async ({ session }) => {
    session.set('counter', 1)
    await session.setPrincipal('ann', { metadata: 'phone' })
  })
  const first = await before.inject('/')
  const cookies = { id: first.cookies[0]?.value ?? '' }
  await before.close()

  const copy = async (from: SessionStore, to: SessionStore) => {
    const result = await copySessions(from, to)
    await from.close()
    await to.close()
    t.match(result, { sessions: 1, copied: 1, different: 0 })
  }
  const connected = async () => {
    const { store, disconnect } = await connectRedisStore(server.url)
    t.teardown(() => disconnect())
    await store.open({ now: Date.now, log: before.log })
    return store
  }
  await copy(await openSessionStore(path), await connected())

  const after = await createRedisApp(t, { client: await clientFor(t, server) })
  after.get('/', async ({ session }) => {
    const counter = await session.update('counter', (counter = 0) => counter + 1)
    return { counter, principal: session.principal, metadata: session.metadata }
  })
  const moved = { principal: 'ann', metadata: 'phone' }
  t.same((await after.inject({ url: '/', cookies })).json(), { counter: 2, ...moved })
  t.equal((await after.sessions.list('ann')).length, 1)

  await copy(await connected(), await openSessionStore(path))
  const again = await createApp(t, { path })
  again.get('/', async ({ session }) => ({
    counter: session.get('counter'),
    principal: session.principal,
    metadata: session.metadata
  }))
  t.same((await again.inject({ url: '/', cookies })).json(), { counter: 2, ...moved })
})
