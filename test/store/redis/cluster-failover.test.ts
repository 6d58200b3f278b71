import type { Test } from 'tap'
import { handleOf } from '../../../lib/record/handle.js'
import type { RedisCluster } from '../../../scripts/servers/redis-cluster.js'
import { settles } from '../../../scripts/servers/until.js'
import { listen } from '../../support/app.js'
import {
  addCount,
  type CountingVisitor,
  CountingVisitors
} from '../../support/counting-visitors.js'
import { testWith } from '../../support/needs.js'
import { createRedisApp } from '../../support/redis-app.js'
import { CLUSTER_CLIENTS, clusterFor } from '../../support/redis-cluster.js'

const test = testWith('redis-server')
const VISITORS = 30
/** Else all masters refuse everything until a replica has taken over for the one that died. */
const OTHERS_GO_ON = ['--cluster-require-full-coverage', 'no']

for (const [name, connect] of Object.entries(CLUSTER_CLIENTS)) {
  async function underLoad(t: Test, replicas: number, storeTimeout: number) {
    const cluster = await clusterFor(t, { replicas: true, options: OTHERS_GO_ON })
    const client = await connect(t, cluster)
    const app = await createRedisApp(t, { client, replicas }, { storeTimeout })
    addCount(app)
    const visitors = await CountingVisitors.arrive([await listen(app)], VISITORS)
    t.teardown(() => visitors.stop())
    visitors.start()
    const more = (count: number) => {
      const from = visitors.acknowledged
      return settles(() => visitors.acknowledged > from + count)
    }
    await more(10 * VISITORS)
    return { cluster, visitors, more }
  }

  test(`${name}: masters that change places with their replicas lose nothing`, async (t) => {
    const { cluster, visitors, more } = await underLoad(t, 0, 5000)
    for (const node of [...cluster.replicas, ...cluster.masters]) {
      await node.ask('CLUSTER', 'FAILOVER')
      await settles(async () => String(await node.ask('ROLE')).startsWith('master'))
      await more(10 * VISITORS)
    }
    await visitors.stop()
    t.equal(visitors.refused, 0, 'and nobody notices')
    await visitors.check(t)
  })

  // It waits for no replicas.
  if (name === 'glide') continue

  test(`${name}: when a master of a cluster dies, its replica has all that was acknowledged`, async (t) => {
    const { cluster, visitors, more } = await underLoad(t, 1, 1000)
    const { there, elsewhere } = await split(cluster, visitors)
    t.ok(there.length > 0 && elsewhere.length > 0)
    t.equal(visitors.refused, 0)
    await cluster.masters[0]?.kill()
    await settles(() => there.every(({ refused }) => refused > 0))
    // It comes back as the replica, without which nothing is acknowledged there.
    await settles(async () => (await cluster.ownerOf(0)) === cluster.replicas[0])
    await cluster.masters[0]?.restart()
    const counted = there.map(({ acknowledged }) => acknowledged)
    await settles(() => there.every((one, at) => one.acknowledged > (counted[at] ?? 0) + 5))
    await more(10 * VISITORS)
    await visitors.stop()
    const refused = elsewhere.reduce((sum, visitor) => sum + visitor.refused, 0)
    t.equal(refused, 0, 'whose sessions are on other masters are served all the time')
    await visitors.check(t)
  })
}

/** Those whose sessions are on the first master, and all others. */
async function split(
  { masters, ownerOf }: RedisCluster,
  visitors: CountingVisitors
): Promise<{ there: CountingVisitor[]; elsewhere: CountingVisitor[] }> {
  const there: CountingVisitor[] = []
  const elsewhere: CountingVisitor[] = []
  for (const visitor of visitors.all) {
    const slot = Number(await masters[0]?.ask('CLUSTER', 'KEYSLOT', handleOf(visitor.id)))
    const owner = await ownerOf(slot)
    if (owner === masters[0]) there.push(visitor)
    else elsewhere.push(visitor)
  }
  return { there, elsewhere }
}
