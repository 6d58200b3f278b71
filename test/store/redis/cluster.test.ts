import { randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import { conformanceCases } from '../../../lib/conformance.js'
import { createSessionId, handleOf } from '../../../lib/record/handle.js'
import { RedisStore } from '../../../lib/redis.js'
import type { RedisCluster } from '../../../scripts/servers/redis-cluster.js'
import { testWith } from '../../support/needs.js'
import { clientFor, redisStoreOfAnotherProcess } from '../../support/redis-app.js'
import { CLUSTER_CLIENTS, clusterFor } from '../../support/redis-cluster.js'

const test = testWith('redis-server')
const CONTEXT = { now: Date.now, log: { debug() {}, info() {}, warn() {}, error() {} } }

test('a cluster of three masters', async (t) => {
  const cluster = await clusterFor(t)
  for (const [name, connect] of Object.entries(CLUSTER_CLIENTS)) {
    await t.test(`keeps the contract through ${name}`, async (t) => {
      const client = await connect(t, cluster)
      const place = () => {
        const prefix = `${randomUUID()}:`
        return {
          createStore: () => redisStoreOfAnotherProcess({ client, prefix }),
          damage: async (handle: string) => {
            for (const master of cluster.masters) {
              const key = `${prefix}{${handle}}`
              await master.ask('APPEND', key, '?').catch(() => {})
            }
          }
        }
      }
      for (const { name, run } of conformanceCases(place)) await t.test(name, run)
    })
  }

  await t.test('has its sessions and its work evenly on all', (t) => isEven(t, cluster))

  await t.test('is refused through a client for a single server', async (t) => {
    const [master] = cluster.masters
    if (master === undefined) throw new Error('no master')
    const client = await clientFor(t, master)
    await t.rejects(new RedisStore({ client }).open(CONTEXT), {
      code: 'SLED_SESSION_INVALID_OPTION',
      message: /"client".*createCluster/
    })
  })

  await t.test('has one owner of a lease', async (t) => {
    const stores = []
    for (const connect of Object.values(CLUSTER_CLIENTS)) {
      stores.push(await redisStoreOfAnotherProcess({ client: await connect(t, cluster) }))
    }
    for (const store of stores) await store.open(CONTEXT)
    for (let round = 0; round < 20; round++) {
      const taken = await Promise.all(
        stores.map((store, at) => store.takeLease(`lease ${round}`, `owner ${at}`, 60_000))
      )
      t.equal(taken.filter(Boolean).length, 1)
    }
  })
})

const SESSIONS = 50_000
const AT_ONCE = 500

async function isEven(t: Test, cluster: RedisCluster) {
  const connect = CLUSTER_CLIENTS.ioredis
  if (connect === undefined) throw new Error('no client')
  for (const master of cluster.masters) {
    await master.ask('FLUSHALL')
    await master.ask('CONFIG', 'RESETSTAT')
  }
  const store = new RedisStore({ client: await connect(t, cluster) })
  await store.open(CONTEXT)
  const expiresAt = Date.now() + 3_600_000
  const begin = async (at: number) => {
    const start = { createdAt: 0, lastSeenAt: 0, expiresAt }
    const record = store.create({ handle: handleOf(createSessionId()), ...start })
    if (at % 4 === 0) record.principal = `user ${at}`
    await store.save(record, null)
    record.apply('counter', '1')
    await store.save(record, new Map([['counter', '1']]))
  }
  for (let at = 0; at < SESSIONS; at += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, next) => begin(at + next)))
  }
  const keys: number[] = []
  const commands: number[] = []
  for (const master of cluster.masters) {
    keys.push(Number(await master.ask('DBSIZE')))
    const stats = String(await master.ask('INFO', 'commandstats'))
    commands.push(Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1]))
  }
  for (const counts of [keys, commands]) {
    const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length
    for (const count of counts) t.ok(Math.abs(count - mean) < mean / 10, `${counts}`)
  }
  t.equal(await store.count(), SESSIONS)
}
