import { inspect } from 'node:util'
import { Cluster, Redis } from 'ioredis'
import { createCluster } from 'redis'
import { onInactivity } from '../../../lib/index.js'
import { createSessionId, handleOf } from '../../../lib/record/handle.js'
import { type RedisClient, RedisStore } from '../../../lib/redis.js'
import { until } from '../../../scripts/servers/until.js'
import { addCounter, cookieOf, listen, TestClock } from '../../support/app.js'
import { glideCache, glideFor } from '../../support/glide.js'
import { testWith } from '../../support/needs.js'
import {
  begin,
  CLIENTS,
  clientFor,
  createRedisApp,
  pair,
  redisFor,
  somePrefix
} from '../../support/redis-app.js'

const test = testWith('redis-server')

for (const [name, connect] of Object.entries(CLIENTS)) {
  test(`${name}: while Redis is frozen or gone requests get a 503 at once, and then work again`, async (t) => {
    const server = await redisFor(t)
    const client = await connect(t, server.url)
    const app = await createRedisApp(t, { client }, { storeTimeout: 1500 })
    addCounter(app)
    app.get('/none', async () => 'nothing')
    const url = await listen(app)
    const cookie = cookieOf(await fetch(url)) ?? ''
    const get = () => fetch(url, { headers: { cookie } })
    t.equal(await (await get()).text(), 'Current count: 1')

    const fails = async () => {
      for (const response of [await get(), await fetch(url)]) {
        t.equal(response.status, 503)
        t.match(await response.json(), { code: 'SLED_SESSION_STORE_UNAVAILABLE' })
        t.same(response.headers.getSetCookie(), [])
      }
      t.equal((await fetch(`${url}/none`)).status, 200, 'who has no session notices nothing')
    }
    server.freeze()
    await fails()
    server.thaw()
    await until(async () => (await get()).status === 200)

    await server.kill()
    await fails()
    await server.restart()
    await until(async () => (await get()).status === 200)
    t.match(await (await get()).text(), 'Current count: 0', 'this server had kept nothing')
  })
}

test('a Redis that is not there fails the start', async (t) => {
  const server = await redisFor(t)
  const client = await clientFor(t, server)
  await server.kill()
  const error = { code: 'SLED_SESSION_STORE_UNAVAILABLE', message: /reach Redis/ }
  await t.rejects(createRedisApp(t, { client }, { storeTimeout: 200 }), error)
})

test('a server that has forgotten the scripts gets them again', async (t) => {
  const { one, client } = await pair(t)
  addCounter(one)
  await one.inject('/')
  await client.sendCommand(['SCRIPT', 'FLUSH'])
  t.equal((await one.inject('/')).statusCode, 200)
})

test('Redis never sees an id, keeps all keys under the prefix, and lets go of them in time', async (t) => {
  const { one, client, prefix } = await pair(t, { expiry: onInactivity({ minutes: 10 }) })
  const { id, handle } = await begin(one, (session) => {
    session.set('a', 'text')
    void session.setPrincipal('ann')
  })
  const keys = await client.keys('*')
  t.ok(keys.every((key) => key.startsWith(prefix)))
  t.same(keys.length, 2)
  const stored = await client.get(`${prefix}{${handle}}`)
  t.match(stored, /\n\[.*"ann".*"a",6\]\n"text"$/)
  t.notOk(JSON.stringify([keys, stored]).includes(id))
  const left = await client.pTTL(`${prefix}{${handle}}`)
  t.ok(left > 9 * 60_000 && left <= 10 * 60_000, `${left} ms`)
  const principals = keys.filter((key) => key.includes(':principal:'))
  t.ok((await client.pTTL(principals[0] ?? '')) > 24 * 3_600_000)
})

test('an expired session is gone by the clock that was given, and by its own time', async (t) => {
  const clock = new TestClock()
  const { one, other, client } = await pair(t, { now: clock.now, expiry: onInactivity(600_000) })
  const { handle } = await begin(one, (session) => session.set('a', 1))
  clock.advance({ seconds: 599 })
  t.ok(await other.sessions.get(handle))
  clock.advance({ seconds: 1 })
  t.equal(await other.sessions.get(handle), null)
  t.equal(await one.sessions.deleteExpired(), 1)
  t.same(await client.keys('*'), [])
})

test('a corrupt record is put in quarantine, and its visitor gets a fresh session', async (t) => {
  const { one, client, prefix, lines } = await pair(t)
  addCounter(one)
  const change = (part: RegExp, by: string) => async (key: string) => {
    const stored = (await client.get(key)) ?? ''
    t.match(stored, part)
    await client.set(key, stored.replace(part, by))
  }
  const damages: ((key: string) => Promise<unknown>)[] = [
    (key) => client.append(key, 'secret'),
    (key) => client.set(key, 'secret'),
    (key) => client.set(key, ''),
    (key) => client.del(key).then(() => client.hSet(key, 'counter', 'secret')),
    change(/^/, 'secret'),
    change(/\["/, '["secret",'),
    change(/\[.*\]/, '["secret"'),
    change(/\[.*\]/, '["secret"]'),
    change(/",\d+,/, '","soon",'),
    change(/,null,/, ',"inactivity never",'),
    change(/,null,null,/, ',null,17,'),
    change(/,null,null,null,/, ',null,null,"secret",'),
    change(/,(\d)\]\n./, ',$1]\n?')
  ]
  for (const [at, damage] of damages.entries()) {
    const first = await one.inject('/')
    const id = first.cookies[0]?.value ?? ''
    const key = `${prefix}{${handleOf(id)}}`
    await damage(key)
    const response = await one.inject({ url: '/', cookies: { id } })
    t.equal(response.body, 'Current count: 0')
    t.not(response.cookies[0]?.value, id)
    t.equal((await client.keys(`${prefix}quarantine:*`)).length, at + 1)
    t.equal(await client.exists(key), 0)
  }
  t.equal((await one.sessions.stats()).quarantined, damages.length)
  t.notOk(lines.some((line) => line.includes('secret')))
})

test('a walk leaves out what does not decode, and leaves it where it is', async (t) => {
  const { one, client, prefix, lines } = await pair(t)
  const { handle } = await begin(one, (session) => session.set('a', 1))
  const key = `${prefix}{${handle}}`
  await client.append(key, '?')
  const store = new RedisStore({ client, prefix })
  await store.open({ now: Date.now, log: one.log })
  for await (const _ of store.records()) t.fail('nothing decodes')
  t.equal(await client.exists(key), 1)
  t.ok(lines.some((line) => /left out/.test(line)))
  t.equal(await store.count(), 1)
})

test('sessions work on a cluster through both clients', async (t) => {
  const folder = t.testdir()
  const server = await redisFor(t, [
    '--cluster-enabled',
    'yes',
    '--cluster-announce-ip',
    '127.0.0.1',
    '--dir',
    folder
  ])
  const admin = await clientFor(t, server)
  await admin.sendCommand(['CLUSTER', 'ADDSLOTSRANGE', '0', '16383'])
  await until(async () => String(await admin.sendCommand(['CLUSTER', 'INFO'])).includes('state:ok'))

  const nodeRedis = createCluster({ rootNodes: [{ url: server.url }] })
  await nodeRedis.connect()
  t.teardown(() => nodeRedis.destroy())
  const ioredis = new Cluster([{ host: '127.0.0.1', port: server.port }])
  t.teardown(() => ioredis.disconnect())
  const clients: RedisClient[] = [nodeRedis, ioredis]
  for (const client of clients) {
    const app = await createRedisApp(t, { client })
    app.get('/', async ({ session }) => {
      await session.setPrincipal('ann')
      return session.update('counter', (counter = 0) => counter + 1)
    })
    const first = await app.inject('/')
    const cookies = { id: first.cookies[0]?.value ?? '' }
    t.equal((await app.inject({ url: '/', cookies })).body, '2')
    t.equal((await app.sessions.list('ann')).length, 1)
    t.equal(await app.sessions.revokeAll('ann'), 1)
  }
})

test('a reply that came while this process was held up is not too late', async (t) => {
  const client = await clientFor(t, await redisFor(t))
  const store = new RedisStore({ client })
  await store.open({ now: Date.now, log: console as never, timeout: 200 })
  const loading = store.load(createSessionId())
  // Behind the client's own turn, in which it sends.
  setImmediate(() => {
    const start = performance.now()
    while (performance.now() - start < 500);
  })
  t.equal(await loading, null)
})

test('options that cannot work are refused', async (t) => {
  const server = await redisFor(t)
  const client = await clientFor(t, server)
  const code = 'SLED_SESSION_INVALID_OPTION'
  const wrong = [
    { client: null },
    { client: {} },
    { client, prefix: 5 },
    { client, prefix: '{session}:' },
    { client, timeout: 2000 },
    { client: { masters: [], sendCommand() {} } },
    { client: new Redis({ lazyConnect: true, keyPrefix: 'app:' }) },
    { client: new Cluster([], { lazyConnect: true, scaleReads: 'slave' }) },
    { client: await glideFor(t, server.port, { readFrom: 'preferReplica' }) },
    { client: await glideFor(t, server.port, { clientSideCache: await glideCache() }) },
    { client: await glideFor(t, server.port, { compression: { enabled: true } }) },
    { client: await glideFor(t, server.port), replicas: 1 }
  ]
  for (const options of wrong) {
    t.throws(() => new RedisStore(options as { client: RedisClient }), { code })
  }
})

test('a client that does not answer in time is a client that fails', async (t) => {
  const client = new Redis('redis://127.0.0.1:1', { lazyConnect: true })
  t.teardown(() => client.disconnect())
  client.on('error', () => {})
  const store = new RedisStore({ client })
  await t.rejects(store.open({ now: Date.now, log: console as never, timeout: 50 }), {
    code: 'SLED_SESSION_STORE_UNAVAILABLE'
  })
})

for (const [name, connect] of Object.entries(CLIENTS)) {
  test(`${name}: what a full server refuses leaves neither handle nor data in the log`, async (t) => {
    const settings = ['--maxmemory', '1', '--maxmemory-policy', 'noeviction']
    const client = await connect(t, (await redisFor(t, settings)).url)
    const lines: string[] = []
    const stream = { write: (line: string) => void lines.push(line) }
    const logger = { level: 'debug', stream }
    const prefix = somePrefix()
    const app = await createRedisApp(t, { client, prefix }, {}, { logger })
    let handle = ''
    // As loggers do that copy all that an error and its causes have.
    app.addHook('onError', async (_request, _reply, error) => {
      lines.push(inspect(error, { depth: 9 }))
    })
    app.get('/begin', async ({ session }) => {
      session.set('k', 'secret')
      handle = session.handle ?? ''
    })
    t.equal((await app.inject('/begin')).statusCode, 503)
    const log = lines.join('')
    t.match(log, /OOM/, 'it says what the server said')
    t.notMatch(log, handle)
    t.notMatch(log, prefix)
    t.notMatch(log, 'secret')
  })

  test(`${name}: a server without scripts fails the start, and is quoted without the key`, async (t) => {
    const server = await redisFor(t, ['--rename-command', 'EVALSHA', ''])
    const prefix = somePrefix()
    const client = await connect(t, server.url)
    const error = await createRedisApp(t, { client, prefix }).catch((error: unknown) => error)
    t.match(error, { code: 'SLED_SESSION_STORE_UNAVAILABLE' })
    t.match(inspect(error), /unknown command/)
    t.notMatch(inspect(error), prefix)
  })
}

test('a key of another type among the sessions stops no walk', async (t) => {
  const { one, client, prefix } = await pair(t)
  await begin(one, (session) => session.set('counter', 1))
  await client.hSet(`${prefix}{${'A'.repeat(43)}}`, { not: 'ours' })
  t.equal(await one.sessions.count(), 1)
  t.equal(await one.sessions.deleteExpired(), 0)
})
