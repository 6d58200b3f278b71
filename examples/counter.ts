import Fastify from 'fastify'
import sledSession, { onInactivity } from 'fastify-sled-session'

declare module 'fastify-sled-session' {
  interface SessionData {
    counter: number
  }
}

const { PORT = '3000', STORAGE = './storage', EXPIRY_SECONDS = '10' } = process.env

const fastify = Fastify({ logger: true })

await fastify.register(sledSession, {
  path: STORAGE,
  secure: false,
  expiry: onInactivity({ seconds: Number(EXPIRY_SECONDS) }),
  reapInterval: { seconds: 1 }
})

fastify.get('/', async (request) => {
  const counter = request.session.get('counter') ?? 0
  request.session.set('counter', counter + 1)
  return `Current count: ${counter}`
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => fastify.close())
}

const address = await fastify.listen({ host: '127.0.0.1', port: Number(PORT) })
console.log(
  `\nThe counter runs at ${address} and starts again after ${EXPIRY_SECONDS} s of inactivity.`
)
console.log(`Try it:  curl -b /tmp/jar -c /tmp/jar ${address}\n`)
