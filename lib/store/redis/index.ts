export type {
  IORedisClient,
  NodeRedisClient,
  NodeRedisCluster,
  RedisClient
} from './client.js'
export { connectRedisStore, type OwnRedisStore } from './connect.js'
export { RedisStore, type RedisStoreOptions } from './redis-store.js'
