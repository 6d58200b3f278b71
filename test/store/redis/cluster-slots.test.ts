import { handleOf } from '../../../lib/record/handle.js'
import { settles } from '../../../scripts/servers/until.js'
import { listen } from '../../support/app.js'
import { addCount, CountingVisitors } from '../../support/counting-visitors.js'
import { testWith } from '../../support/needs.js'
import { createRedisApp } from '../../support/redis-app.js'
import { CLUSTER_CLIENTS, clusterFor } from '../../support/redis-cluster.js'

const test = testWith('redis-server')
const VISITORS = 20
const MOVES = 60

for (const [name, connect] of Object.entries(CLUSTER_CLIENTS)) {
  test(`${name}: slots that move under load lose nothing, and nobody notices`, async (t) => {
    const cluster = await clusterFor(t)
    const { masters, ownerOf, moveSlot } = cluster
    const app = await createRedisApp(t, { client: await connect(t, cluster) })
    addCount(app)
    const visitors = await CountingVisitors.arrive([await listen(app)], VISITORS)
    t.teardown(() => visitors.stop())
    const slots: number[] = []
    for (const { id } of visitors.all) {
      slots.push(Number(await masters[0]?.ask('CLUSTER', 'KEYSLOT', handleOf(id))))
    }
    visitors.start()
    for (let move = 0; move < MOVES; move++) {
      const slot = slots[move % slots.length] as number
      const owner = await ownerOf(slot)
      const others = masters.filter((master) => master !== owner)
      await moveSlot(slot, others[move % others.length] as (typeof masters)[number])
      const from = visitors.acknowledged
      await settles(() => visitors.acknowledged > from + VISITORS)
    }
    await visitors.stop()
    t.equal(visitors.refused, 0)
    await visitors.check(t)
  })
}
