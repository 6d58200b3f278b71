import type { RedisClient } from '../lib/redis.js'
import { inFlight } from './redis-operations.js'
import { CONTESTANTS, type Contestant, OURS } from './redis-stores.js'
import { type RedisWatch, sum } from './redis-usage.js'

/** CPU time for each session that a walk passes, in µs. */
export interface WalkCost {
  readonly node: number
  readonly redis: number
}

/** What so many sessions of 400 bytes need in Redis, in bytes each, and what walks over ours cost. */
export async function measureSessions(
  client: RedisClient,
  watch: RedisWatch,
  count: number
): Promise<{ bytes: Record<string, number>; walks: Record<'count' | 'records', WalkCost> }> {
  const bytes: Record<string, number> = {}
  let walks = { count: { node: 0, redis: 0 }, records: { node: 0, redis: 0 } }
  for (const [name, open] of Object.entries(CONTESTANTS)) {
    const contestant = await open(client)
    bytes[name] = await fill(watch, count, () => contestant.create())
    if (name === OURS) {
      walks = {
        count: await measureWalk(watch, contestant, false),
        records: await measureWalk(watch, contestant, true)
      }
      const ofUsers = `${name}, each of another user`
      bytes[ofUsers] = await fill(watch, count, (number) => contestant.create(`user ${number}`))
    }
    await contestant.close()
  }
  await watch.empty()
  return { bytes, walks }
}

async function fill(
  watch: RedisWatch,
  count: number,
  create: (number: number) => Promise<unknown>
): Promise<number> {
  await watch.empty()
  const before = await watch.memory()
  await inFlight(count, create)
  return ((await watch.memory()) - before) / count
}

async function measureWalk(
  watch: RedisWatch,
  contestant: Contestant,
  reads: boolean
): Promise<WalkCost> {
  const before = await watch.totals()
  const cpu = process.cpuUsage()
  const count = (await contestant.walk?.(reads)) ?? Number.NaN
  const used = process.cpuUsage(cpu)
  const redis = await watch.since(before)
  return { node: (used.user + used.system) / count, redis: sum(redis.cpu) / count }
}
