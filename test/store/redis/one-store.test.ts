import { test } from 'tap'
import { RedisStore } from '../../../lib/redis.js'
import { startRedis } from '../../../scripts/servers/redis.js'
import { createApp } from '../../support/app.js'
import { needs } from '../../support/needs.js'
import { CLIENTS, somePrefix } from '../../support/redis-app.js'

const REFUSED = { code: 'SLED_SESSION_INVALID_OPTION', message: /"prefix".*another store/ }
const CONTEXT = { now: Date.now, log: { debug() {}, info() {}, warn() {}, error() {} } }

test('two stores of a process are never on the same keys', needs('redis-server'), async (t) => {
  const server = await startRedis()
  const elsewhere = await startRedis()
  t.teardown(() => Promise.all([server.stop(), elsewhere.stop()]))
  const connect = CLIENTS.redis
  const other = CLIENTS.ioredis
  if (connect === undefined || other === undefined) throw new Error('no client')
  const client = await connect(t, server.url)
  const prefix = somePrefix()
  const first = new RedisStore({ client, prefix })
  await createApp(t, { store: first })

  const localhost = server.url.replace('127.0.0.1', 'localhost')
  for (const same of [client, await connect(t, server.url), await other(t, localhost)]) {
    await t.rejects(createApp(t, { store: new RedisStore({ client: same, prefix }) }), REFUSED)
  }
  const outcomes = await Promise.allSettled(
    ['a:', 'a:'].map((twice) => new RedisStore({ client, prefix: twice }).open(CONTEXT))
  )
  t.equal(outcomes.filter(({ status }) => status === 'rejected').length, 1, 'even at one time')

  await createApp(t, { store: new RedisStore({ client, prefix: somePrefix() }) })
  const free = [await connect(t, elsewhere.url), await connect(t, `${server.url}/1`)]
  for (const one of free) {
    const store = new RedisStore({ client: one, prefix })
    await store.open(CONTEXT)
    await store.close()
  }
  await first.close()
  await new RedisStore({ client, prefix }).open(CONTEXT)
})

test('a store asks for no key outside of its prefix', needs('redis-server'), async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const admin = await CLIENTS.redis?.(t, server.url)
  if (admin === undefined || !('sendCommand' in admin)) throw new Error('no client')
  const sendCommand = admin.sendCommand as (args: string[]) => Promise<unknown>
  const user = ['web', 'on', '>secret', '+@all', 'resetkeys', '~session:*']
  await sendCommand.call(admin, ['ACL', 'SETUSER', ...user])
  const client = await CLIENTS.redis?.(t, server.url.replace('//', '//web:secret@'))
  if (client === undefined) throw new Error('no client')
  const store = new RedisStore({ client })
  await store.open(CONTEXT)
  t.equal(await store.count(), 0)
  await store.close()
})
