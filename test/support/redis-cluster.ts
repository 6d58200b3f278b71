import { once } from 'node:events'
import { Cluster } from 'ioredis'
import { createCluster } from 'redis'
import type { Test } from 'tap'
import type { RedisClient } from '../../lib/redis.js'
import {
  type ClusterOptions,
  type RedisCluster,
  startCluster
} from '../../scripts/servers/redis-cluster.js'
import { glideClusterFor } from './glide.js'

/** One that is stopped after the test. */
export async function clusterFor(t: Test, options: ClusterOptions = {}): Promise<RedisCluster> {
  const cluster = await startCluster(options)
  t.teardown(() => cluster.stop())
  return cluster
}

/** Ready clients of a cluster, of both packages; closed after the test. */
export const CLUSTER_CLIENTS: Record<
  string,
  (t: Test, cluster: RedisCluster) => Promise<RedisClient>
> = {
  async redis(t, { urls }) {
    const client = createCluster({ rootNodes: urls.map((url) => ({ url })) })
    client.on('error', () => {})
    await client.connect()
    t.teardown(() => client.destroy())
    return client
  },
  async ioredis(t, { masters }) {
    const client = new Cluster(masters.map(({ port }) => ({ host: '127.0.0.1', port })))
    client.on('error', () => {})
    await once(client, 'ready')
    t.teardown(() => client.disconnect())
    return client
  },
  glide: (t, { masters }) =>
    glideClusterFor(
      t,
      masters.map(({ port }) => port)
    )
}
