export type {
  IORedisClient,
  NodeRedisClient,
  NodeRedisCluster,
  RedisClient
} from './client.js'
export { RedisStore, type RedisStoreOptions } from './redis-store.js'
