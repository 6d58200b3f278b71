import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import Fastify from 'fastify'
import sledSession from 'fastify-sled-session'
import { LmdbStore } from 'fastify-sled-session/lmdb'

// Several threads of one process on one database. Threads cannot share a port: each has its own,
// and what stands in front spreads requests over them.

const { PORT = '3000', STORAGE = './sessions', THREADS = '2' } = process.env

if (isMainThread) {
  const threads = Array.from(
    { length: Number(THREADS) },
    (_, number) => new Worker(new URL(import.meta.url), { workerData: { number } })
  )
  for (const thread of threads) thread.on('message', (line) => console.log(line))
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => {
      for (const thread of threads) thread.postMessage('stop')
    })
  }
} else {
  const { number } = workerData
  const fastify = Fastify()
  await fastify.register(sledSession, { store: new LmdbStore({ path: STORAGE }), secure: 'auto' })

  fastify.get('/', async ({ session }) => {
    const counter = await session.update('counter', (counter = 0) => counter + 1)
    return { counter, thread: number }
  })

  parentPort.once('message', () => fastify.close())
  const port = Number(PORT) === 0 ? 0 : Number(PORT) + number
  const address = await fastify.listen({ host: '127.0.0.1', port })
  parentPort.postMessage(`thread ${number} on ${address}`)
}
