export type { ExpressSession } from './tools/express/express-sessions.js'
export type {
  ExpressCallback,
  ExpressRequest,
  ExpressStore,
  ExpressStoreClass
} from './tools/express/express-store.js'
export { type ExpressStoreOptions, toExpressStore } from './tools/express/to-express-store.js'
