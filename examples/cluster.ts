import cluster from 'node:cluster'
import Fastify from 'fastify'
import sledSession from 'fastify-sled-session'
import { LmdbStore } from 'fastify-sled-session/lmdb'

// Every core of the machine on one database: four workers share one port and all sessions.

const { PORT = '3000', STORAGE = './sessions', WORKERS = '4' } = process.env

if (cluster.isPrimary) {
  for (let count = 0; count < Number(WORKERS); count++) cluster.fork()
  cluster.once('listening', (_worker, { port }) => {
    const address = `http://127.0.0.1:${port}`
    console.log(`\nTry it:  curl -b /tmp/jar -c /tmp/jar ${address}\n`)
  })
  let stopping = false
  // What a worker that died had acknowledged is there for the one in its place.
  cluster.on('exit', () => void (stopping || cluster.fork()))
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stopping = true
      for (const worker of Object.values(cluster.workers ?? {})) worker?.send('stop')
    })
  }
} else {
  const fastify = Fastify()
  await fastify.register(sledSession, { store: new LmdbStore({ path: STORAGE }), secure: 'auto' })

  // No two workers lose each other's updates, and what one has ended no other serves.
  fastify.get('/', async ({ session }) => {
    const counter = await session.update<number>('counter', (counter = 0) => counter + 1)
    return { counter, worker: process.pid }
  })
  fastify.get('/logout', async ({ session }) => {
    await session.destroy()
    return { counter: null, worker: process.pid }
  })

  // The primary stops them: a signal from the terminal reaches all at once.
  process.on('SIGINT', () => {})
  process.once('message', async () => {
    await fastify.close()
    process.disconnect()
  })
  await fastify.listen({ host: '127.0.0.1', port: Number(PORT) })
}
