import cluster from 'node:cluster'
import Fastify from 'fastify'
import sledSession from 'fastify-sled-session'

// What not to do: RocksDB lets one process in, so the second worker is refused, with an error that
// says what to do instead. See redis.ts for several processes.

const { STORAGE = './storage' } = process.env

if (cluster.isPrimary) {
  const first = cluster.fork()
  first.once('message', () => {
    const second = cluster.fork()
    second.once('exit', () => first.disconnect())
  })
} else {
  const fastify = Fastify()
  try {
    await fastify.register(sledSession, { path: STORAGE })
    console.log('The first worker has the database.')
    process.send?.('open')
    process.once('disconnect', () => fastify.close())
  } catch (error) {
    console.log('The second is refused:', (error as Error).message)
    cluster.worker?.disconnect()
  }
}
