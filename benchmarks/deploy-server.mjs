// A server on the built package, without a compiler on its way: tells its parent where it listens,
// and what it warns of meanwhile. STORE is "rocksdb" or "lmdb", and STORAGE its folder.
import Fastify from 'fastify'
import { sledSession } from '../dist/index.js'
import { LmdbStore } from '../dist/lmdb.js'

const { STORE, STORAGE } = process.env
const stream = { write: (line) => void process.send({ warning: line }) }
const fastify = Fastify({ logger: { level: 'warn', stream } })
const place = STORE === 'lmdb' ? { store: new LmdbStore({ path: STORAGE }) } : { path: STORAGE }
await fastify.register(sledSession, { ...place, secure: false })
fastify.get('/', async ({ session }) => {
  return { counter: await session.update('counter', (counter = 0) => counter + 1) }
})
process.once('SIGTERM', async () => {
  await fastify.close()
  process.disconnect()
})
process.send({ url: await fastify.listen({ host: '127.0.0.1', port: 0 }) })
