export type {
  GlideClient,
  GlideClusterClient,
  IORedisClient,
  IORedisCluster,
  NodeRedisClient,
  NodeRedisCluster,
  NodeRedisSentinel,
  RedisClient
} from './store/redis/client.js'
export { connectRedisStore, type OwnRedisStore } from './store/redis/connect.js'
export type { RedisStoreOptions } from './store/redis/options.js'
export { RedisStore } from './store/redis/redis-store.js'
