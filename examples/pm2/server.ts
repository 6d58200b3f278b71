import Fastify from 'fastify'
import sledSession from 'fastify-sled-session'
import { LmdbStore } from 'fastify-sled-session/lmdb'

const { PORT = '3000', STORAGE = './sessions' } = process.env

const fastify = Fastify()
await fastify.register(sledSession, { store: new LmdbStore({ path: STORAGE }), secure: 'auto' })

fastify.get('/', async ({ session }) => {
  const counter = await session.update<number>('counter', (counter = 0) => counter + 1)
  return { counter, worker: process.pid }
})

// PM2 stops with SIGINT.
process.once('SIGINT', async () => {
  await fastify.close()
  process.exit()
})

await fastify.listen({ host: '127.0.0.1', port: Number(PORT) })
process.send?.('ready')
