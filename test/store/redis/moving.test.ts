import { copySessions } from '../../../lib/index.js'
import { createSessionId, handleOf } from '../../../lib/record/handle.js'
import { connectRedisStore } from '../../../lib/redis.js'
import { createApp } from '../../support/app.js'
import { testWith } from '../../support/needs.js'
import { begin, clientFor, createRedisApp, redisFor } from '../../support/redis-app.js'

const test = testWith('redis-server')

test('a store can be connected by its URL alone', async (t) => {
  const server = await redisFor(t)
  const { store, disconnect } = await connectRedisStore(`${server.url}?prefix=mine:`)
  const app = await createApp(t, { store })
  app.addHook('onClose', () => disconnect())
  const { handle } = await begin(app, (session) => session.set('a', 1))
  const client = await clientFor(t, server)
  t.equal(await client.exists(`mine:{${handle}}`), 1)

  const second = await connectRedisStore(server.url)
  await second.store.open({ now: Date.now, log: app.log })
  t.equal(await second.store.count(), 0, 'under its own prefix')
  await second.disconnect()
  const nothing = () => Promise.reject(new Error('not installed'))
  await t.rejects(connectRedisStore(server.url, nothing), {
    code: 'SLED_SESSION_INVALID_OPTION',
    message: /npm install redis/
  })
  await t.rejects(connectRedisStore('http://localhost'), { code: 'SLED_SESSION_INVALID_OPTION' })
  await t.rejects(connectRedisStore('here'), { code: 'SLED_SESSION_INVALID_OPTION' })
  await app.close()
  await server.kill()
  await t.rejects(connectRedisStore(server.url), { code: 'SLED_SESSION_STORE_UNAVAILABLE' })
})

test('what version 0.1 has stored in one slot is copied, and its cookies stay valid', async (t) => {
  const server = await redisFor(t)
  const client = await clientFor(t, server)
  const id = createSessionId()
  const handle = handleOf(id)
  const now = Date.now()
  const fields = {
    ...{ born: 'abcdefgh', created: now - 5, seen: now - 3, expires: now + 600_000, next: 3 },
    ...{ expiry: 'inactivity 600000', principal: 'ann', metadata: '"phone"' },
    ...{ '=b': '2 "text"', '=counter': '1 4', '=\0"\\ud800"': '3 true' }
  }
  await client.hSet(`{session}:session:${handle}`, fields)
  const damaged = handleOf(createSessionId())
  await client.hSet(`{session}:session:${damaged}`, { ...fields, '=b': '2 "te' })
  const member = (each: string) => Buffer.from(each, 'base64url').toString('hex')
  const members = [handle, damaged].map((each) => ({ score: 0, value: member(each) }))
  await client.zAdd('{session}:handles', members)

  const lines: string[] = []
  const note = (_fields: object, message: string) => void lines.push(message)
  const log = { debug: note, info: note, warn: note, error: note }
  const open = async (url: string) => {
    const { store, disconnect } = await connectRedisStore(url)
    t.teardown(() => disconnect())
    await store.open({ now: Date.now, log })
    return store
  }
  const from = await open(`${server.url}?prefix={session}:`)
  const to = await open(server.url)
  t.ok(
    lines.some((line) => /layout of version 0\.1/.test(line)),
    'whoever forgets it is told'
  )
  t.match(await copySessions(from, to), { sessions: 1, copied: 1, different: 0, unreadable: 1 })
  t.equal(await from.count(), 2)
  t.equal(await from.lastCopyAt?.(), null)
  t.ok(await from.load(id), 'the source has it still')
  const start = { handle, createdAt: 0, lastSeenAt: 0, expiresAt: 0 }
  const refused: Promise<unknown>[] = [
    from.save(from.create(start), null),
    from.replace(from.create(start), from.create(start), true),
    from.destroy(from.create(start)),
    from.putRecords([]),
    from.deleteExpired(),
    from.handlesOf('ann')[Symbol.asyncIterator]().next()
  ]
  for (const each of refused) await t.rejects(each, { code: 'SLED_SESSION_NOT_SUPPORTED' })
  await to.close()

  const app = await createRedisApp(t, { client })
  app.get('/', async ({ session }) => ({
    entries: session.entries(),
    principal: session.principal,
    metadata: session.metadata
  }))
  t.same((await app.inject({ url: '/', cookies: { id } })).json(), {
    entries: [
      ['counter', 4],
      ['b', 'text'],
      ['\ud800', true]
    ],
    principal: 'ann',
    metadata: 'phone'
  })
  t.equal((await app.sessions.list('ann')).length, 1)
})
