import csrf from '@fastify/csrf-protection'
import formbody from '@fastify/formbody'
import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyReply, type FastifyServerOptions } from 'fastify'
import sledSession, {
  onInactivity,
  onSessionEnd,
  type SledSessionOptions
} from 'fastify-sled-session'
import { deviceName } from './device.js'
import type { Html } from './html.js'
import { devicesPage, homePage, loginPage, problemPage, STYLE } from './pages.js'
import type { Users } from './users.js'

declare module 'fastify-sled-session' {
  interface SessionData {
    visits: number
  }
}

const Credentials = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 100 }),
  password: Type.String({ maxLength: 1000 }),
  remember: Type.Optional(Type.Literal('on'))
})
const Device = Type.Object({ handle: Type.String() })

/** A site with a login, a list of one's devices and a logout, for one of them or for all. */
export async function createApp(
  users: Users,
  session: SledSessionOptions,
  server: FastifyServerOptions = {}
) {
  const fastify = Fastify(server).withTypeProvider<TypeBoxTypeProvider>()
  await fastify.register(formbody)
  await fastify.register(sledSession, {
    sessionEndLimit: { hours: 12 },
    absoluteTimeout: { days: 90 },
    ...session
  })
  // Named after the session plugin whose get and set ours has too.
  await fastify.register(csrf, { sessionPlugin: '@fastify/secure-session' })

  fastify.addHook('onRequest', async (_request, reply) => {
    reply.headers({
      // The back button must not show what was on the screen before a logout.
      'cache-control': 'no-store',
      'content-security-policy':
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'"
    })
  })
  fastify.addHook('preHandler', (request, reply, done) => {
    if (request.method === 'POST') fastify.csrfProtection(request, reply, done)
    else done()
  })
  fastify.setErrorHandler((error: Error & { code?: string }, _request, reply) => {
    if (!error.code?.startsWith('FST_CSRF_')) throw error
    return send(
      reply.code(403),
      problemPage('This form is too old', 'Please go back and try again.')
    )
  })

  fastify.get('/style.css', { config: { session: false } }, async (_request, reply) =>
    reply.header('cache-control', 'max-age=3600').type('text/css').send(STYLE)
  )

  fastify.get('/login', async (request, reply) =>
    request.session.principal === null
      ? send(reply, loginPage(reply.generateCsrf()))
      : reply.redirect('/', 303)
  )

  // A real site also limits how often somebody may try, as with @fastify/rate-limit.
  fastify.post('/login', { schema: { body: Credentials } }, async (request, reply) => {
    const { name, password, remember } = request.body
    const { session } = request
    if (!(await users.verify(name, password))) {
      return send(reply.code(401), loginPage(reply.generateCsrf(), 'Wrong name or password.'))
    }
    // Whoever planted this session before the login knows what is in it, its CSRF secret too.
    session.clear()
    session.expiry = remember === 'on' ? onInactivity({ days: 30 }) : onSessionEnd()
    // This gives the session a new id.
    await session.setPrincipal(name, {
      metadata: { device: deviceName(request.headers['user-agent']) }
    })
    return reply.redirect('/', 303)
  })

  await fastify.register(async (scope) => {
    const members = scope.withTypeProvider<TypeBoxTypeProvider>()
    members.addHook('preHandler', async (request, reply) => {
      if (request.session.principal === null) return reply.redirect('/login', 303)
    })

    members.get('/', async ({ session }, reply) => {
      const visits = await session.update('visits', (visits = 0) => visits + 1)
      return send(reply, homePage(session.principal ?? '', visits, reply.generateCsrf()))
    })

    members.get('/devices', async ({ session }, reply) => {
      const sessions = await fastify.sessions.list(session.principal ?? '')
      return send(reply, devicesPage(sessions, session.handle, reply.generateCsrf()))
    })

    members.post('/devices/revoke', { schema: { body: Device } }, async (request, reply) => {
      // With the principal, so that nobody can end another user's session.
      const principal = request.session.principal ?? ''
      await fastify.sessions.revoke(request.body.handle, { principal })
      return reply.redirect('/devices', 303)
    })

    members.post('/logout', async ({ session }, reply) => {
      await session.destroy()
      return reply.redirect('/login', 303)
    })

    members.post('/logout-everywhere', async ({ session }, reply) => {
      const name = session.principal ?? ''
      await session.destroy()
      await fastify.sessions.revokeAll(name)
      return reply.redirect('/login', 303)
    })
  })

  return fastify
}

function send(reply: FastifyReply, page: Html): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(page.text)
}
