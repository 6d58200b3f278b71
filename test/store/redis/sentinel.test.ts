import { once } from 'node:events'
import { Redis } from 'ioredis'
import { createSentinel } from 'redis'
import type { Test } from 'tap'
import type { RedisClient } from '../../../lib/redis.js'
import { type SentinelSetUp, startSentinels } from '../../../scripts/servers/redis-sentinel.js'
import { settles } from '../../../scripts/servers/until.js'
import { listen } from '../../support/app.js'
import { addCount, CountingVisitors } from '../../support/counting-visitors.js'
import { testWith } from '../../support/needs.js'
import { createRedisApp } from '../../support/redis-app.js'

const test = testWith('redis-server')
const VISITORS = 20

const CLIENTS: Record<string, (t: Test, setUp: SentinelSetUp) => Promise<RedisClient>> = {
  async redis(t, { name, sentinels }) {
    const client = createSentinel({ name, sentinelRootNodes: [...sentinels] })
    client.on('error', () => {})
    await client.connect()
    t.teardown(() => client.destroy())
    return client
  },
  async ioredis(t, { name, sentinels }) {
    const client = new Redis({ name, sentinels: [...sentinels] })
    client.on('error', () => {})
    await once(client, 'ready')
    t.teardown(() => client.disconnect())
    return client
  }
}

for (const [name, connect] of Object.entries(CLIENTS)) {
  test(`${name}: sentinels make a replica the master under load, and nothing is lost`, async (t) => {
    const setUp = await startSentinels()
    t.teardown(() => setUp.stop())
    const client = await connect(t, setUp)
    const app = await createRedisApp(t, { client, replicas: 1 }, { storeTimeout: 1000 })
    addCount(app)
    const visitors = await CountingVisitors.arrive([await listen(app)], VISITORS)
    t.teardown(() => visitors.stop())
    visitors.start()
    await settles(() => visitors.acknowledged > 10 * VISITORS)
    t.equal(visitors.refused, 0)
    await setUp.master.kill()
    await settles(() => visitors.refused >= VISITORS)
    const from = visitors.acknowledged
    await settles(() => visitors.acknowledged > from + 10 * VISITORS)
    await visitors.stop()
    t.not(await setUp.masterPort(), setUp.master.port)
    await visitors.check(t)
  })
}
