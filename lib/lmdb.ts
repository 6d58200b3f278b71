export { LmdbStore, type LmdbStoreOptions } from './store/lmdb/lmdb-store.js'
