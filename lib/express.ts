export type {
  ExpressSession,
  ExpressStore,
  ExpressStoreOptions
} from './tools/express/express-store.js'
export { toExpressStore } from './tools/express/to-express-store.js'
