import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import sledSession from 'fastify-sled-session'

declare module 'fastify-sled-session' {
  interface SessionData {
    name: string
    said: number
  }
}

const { PORT = '3000', STORAGE = './storage' } = process.env

const fastify = Fastify({ logger: true })

await fastify.register(sledSession, { path: STORAGE, secure: 'auto' })
await fastify.register(websocket)

fastify.get<{ Params: { name: string } }>('/enter/:name', async ({ params, session }) => {
  // Here, as the upgrade of a connection is too late to send a cookie.
  session.set('name', params.name)
  return `Hello, ${params.name}`
})

fastify.get(
  '/chat',
  {
    websocket: true,
    // Cookies go along from any site's pages, so let in only those of this one, with a session.
    preValidation: async (request, reply) => {
      const { origin, host } = request.headers
      if (origin !== undefined && origin.split('//')[1] !== host) {
        return reply.code(403).send('This is for pages of this site.')
      }
      if (!request.session.has('name')) return reply.code(401).send('Enter first.')
    }
  },
  (socket, request) => {
    const { handle } = request.session
    socket.on('message', async (text: Buffer) => {
      // Anew for each message: the session may have been revoked, or have expired, meanwhile.
      const session = handle === null ? null : await fastify.sessions.get(handle)
      if (session === null) return socket.close(1008, 'Your session has ended.')
      const said = await session.update('said', (said = 0) => said + 1)
      session.touch()
      socket.send(`${session.get('name')} (${said}): ${text}`)
    })
  }
)

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => fastify.close())
}

const address = await fastify.listen({ host: '127.0.0.1', port: Number(PORT) })
console.log(`\nEnter at ${address}/enter/ann, then open a WebSocket to /chat.\n`)
