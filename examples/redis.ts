import Fastify from 'fastify'
import sledSession from 'fastify-sled-session'
import { RedisStore } from 'fastify-sled-session/redis'
import { createClient } from 'redis'

const { PORT = '3000', REDIS = 'redis://127.0.0.1:6379' } = process.env

const fastify = Fastify({ logger: true })

const client = createClient({ url: REDIS })
// Without a listener, a lost connection would end the process.
client.on('error', (error) => fastify.log.error({ err: error }, 'Redis is away'))
await client.connect()

// The same as with a path, on as many machines as you like.
await fastify.register(sledSession, { store: new RedisStore({ client }), secure: 'auto' })

fastify.addHook('onClose', async () => {
  await client.close()
})

// No two servers lose each other's updates: each is one step in Redis.
fastify.get('/', async ({ session }) => {
  const counter = await session.update<number>('counter', (counter = 0) => counter + 1)
  return `You have been here ${counter} times.`
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => fastify.close())
}

const address = await fastify.listen({ host: '127.0.0.1', port: Number(PORT) })
console.log(`\nTry it:  curl -b /tmp/jar -c /tmp/jar ${address}\n`)
