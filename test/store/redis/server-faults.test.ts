import type { Test } from 'tap'
import type { RedisProcess } from '../../../scripts/servers/redis.js'
import { settles } from '../../../scripts/servers/until.js'
import { listen, temporaryFolder } from '../../support/app.js'
import { addCount, CountingVisitors } from '../../support/counting-visitors.js'
import { testWith } from '../../support/needs.js'
import { CLIENTS, clientFor, createRedisApp, redisFor } from '../../support/redis-app.js'

const test = testWith('redis-server')
const VISITORS = 20

for (const [name, connect] of Object.entries(CLIENTS)) {
  /** A server with visitors who count, and a client beside it that does to Redis what it should not. */
  async function underLoad(t: Test, server: RedisProcess, storeTimeout?: number) {
    const client = await connect(t, server.url)
    const timeout = storeTimeout === undefined ? {} : { storeTimeout }
    const app = await createRedisApp(t, { client }, timeout)
    addCount(app)
    const visitors = await CountingVisitors.arrive([await listen(app)], VISITORS)
    visitors.start()
    t.teardown(() => visitors.stop())
    const more = (count: number) => {
      const from = visitors.acknowledged
      return settles(() => visitors.acknowledged > from + count)
    }
    await more(VISITORS)
    return { visitors, more, admin: await clientFor(t, server) }
  }

  test(`${name}: what was acknowledged outlives a Redis with an append-only file`, async (t) => {
    const dir = await temporaryFolder(t)
    // By default Redis waits with its writes for a slow disk, and acknowledges before.
    const append = ['--appendonly', 'yes', '--appendfsync', 'always', '--dir', dir]
    const server = await redisFor(t, append)
    const { visitors, more } = await underLoad(t, server, 1000)
    for (let kill = 0; kill < 3; kill++) {
      await server.kill()
      const from = visitors.refused
      await settles(() => visitors.refused > from + VISITORS)
      await server.restart()
      await more(10 * VISITORS)
    }
    await visitors.stop()
    await visitors.check(t)
  })

  test(`${name}: nobody notices that Redis forgets its scripts`, async (t) => {
    const { visitors, more, admin } = await underLoad(t, await redisFor(t))
    for (let times = 0; times < 20; times++) {
      await admin.sendCommand(['SCRIPT', 'FLUSH'])
      await more(VISITORS)
    }
    await visitors.stop()
    t.equal(visitors.refused, 0)
    await visitors.check(t)
  })

  test(`${name}: a pause delays answers, and a longer one is a 503`, async (t) => {
    const { visitors, more, admin } = await underLoad(t, await redisFor(t), 1000)
    await admin.sendCommand(['CLIENT', 'PAUSE', '300', 'ALL'])
    await more(5 * VISITORS)
    t.equal(visitors.refused, 0)
    await admin.sendCommand(['CLIENT', 'PAUSE', '2500', 'ALL'])
    await settles(() => visitors.refused >= VISITORS)
    await more(5 * VISITORS)
    await visitors.stop()
    await visitors.check(t)
  })

  test(`${name}: while its memory is full, sessions are read, and changes are 503s`, async (t) => {
    const { visitors, more, admin } = await underLoad(t, await redisFor(t))
    await admin.sendCommand(['CONFIG', 'SET', 'maxmemory', '1'])
    await settles(() => visitors.refused >= VISITORS)
    await visitors.stop()
    for (const visitor of visitors.all) {
      const { status, count } = await visitor.get('/look')
      t.same({ status, count }, { status: 200, count: visitor.acknowledged })
    }
    const [first] = visitors.all
    const stranger = await fetch(`${first?.urls[0]}/count`)
    t.equal(stranger.status, 503)
    t.same(stranger.headers.getSetCookie(), [])
    await stranger.arrayBuffer()
    await admin.sendCommand(['CONFIG', 'SET', 'maxmemory', '0'])
    visitors.start()
    await more(VISITORS)
    await visitors.stop()
    await visitors.check(t)
  })

  test(`${name}: after FLUSHALL everybody begins again`, async (t) => {
    const { visitors, more, admin } = await underLoad(t, await redisFor(t))
    const before = new Set(visitors.all.map(({ id }) => id))
    await admin.sendCommand(['FLUSHALL'])
    for (const visitor of visitors.all) await settles(() => !before.has(visitor.id))
    await more(5 * VISITORS)
    await visitors.stop()
    t.equal(visitors.refused, 0)
    t.same(visitors.unexpected, [])
    for (const visitor of visitors.all) {
      const { count } = await visitor.get('/look')
      t.ok(count > 0 && count < visitor.acknowledged)
    }
  })
}
