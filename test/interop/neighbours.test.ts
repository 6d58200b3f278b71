import csrf from '@fastify/csrf-protection'
import formbody from '@fastify/formbody'
import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import websocket from '@fastify/websocket'
import { expectTypeOf } from 'expect-type'
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { type Test, test } from 'tap'
import { createApp } from '../support/app.js'

/** A visitor with a cookie jar, by `inject`. */
function visitor(app: FastifyInstance) {
  const jar = new Map<string, string>()
  const ask = async (url: string, form?: Record<string, string>) => {
    const response = await app.inject({
      url,
      cookies: Object.fromEntries(jar),
      ...(form === undefined
        ? { method: 'GET' }
        : {
            method: 'POST',
            payload: new URLSearchParams(form).toString(),
            headers: { 'content-type': 'application/x-www-form-urlencoded' }
          })
    })
    for (const { name, value } of response.cookies) jar.set(name, value)
    return response
  }
  return { jar, ask }
}

// Loaded by a name that the compiler does not follow: each of these declares a request.session of
// its own, as the one session plugin of an application.
async function load<T>(name: string): Promise<T> {
  return (await import(name)) as T
}

test('@fastify/csrf-protection keeps its secret in the session', async (t) => {
  const app = await createApp(t)
  await app.register(formbody)
  await app.register(csrf, { sessionPlugin: '@fastify/secure-session' })
  app.get('/form', async (_request, reply) => reply.generateCsrf())
  app.get('/renew', async ({ session }) => session.regenerate())
  app.post('/order', { preHandler: app.csrfProtection }, async () => 'ordered')
  const { ask, jar } = visitor(app)

  t.match((await ask('/order', {})).json(), { code: 'FST_CSRF_MISSING_SECRET', statusCode: 403 })
  const token = (await ask('/form')).body
  t.equal((await ask('/order', { _csrf: token })).body, 'ordered')
  t.match((await ask('/order', { _csrf: 'forged' })).json(), { code: 'FST_CSRF_INVALID_TOKEN' })
  t.match((await ask('/order', {})).json(), { code: 'FST_CSRF_INVALID_TOKEN' })
  const other = visitor(app)
  await other.ask('/form')
  t.equal((await other.ask('/order', { _csrf: token })).statusCode, 403, "another's token")
  t.same([...jar.keys()], ['id'], 'it sets no cookie of its own')
  await ask('/renew')
  t.equal((await ask('/order', { _csrf: token })).body, 'ordered', 'a renewal keeps the secret')
})

interface Passport {
  initialize(): FastifyPluginAsync
  secureSession(): FastifyPluginAsync
  use(name: string, strategy: object): void
  authenticate(
    name: string,
    options?: object
  ): (request: FastifyRequest, reply: FastifyReply) => Promise<void>
  registerUserSerializer(fn: (user: string) => Promise<string>): void
  registerUserDeserializer(fn: (stored: string) => Promise<string | false>): void
}
interface PassportModule {
  Authenticator: new (options?: { clearSessionOnLogin?: boolean }) => Passport
  Strategy: new (name: string) => object
}
type PassportRequest = FastifyRequest & { user?: string; logOut(): Promise<void> }

/** A site whose users log in through passport, with the name as the only credential. */
async function passportSite(t: Test, options: { clearSessionOnLogin?: boolean } = {}) {
  const { Authenticator, Strategy } = await load<PassportModule>('@fastify/passport')
  class NameStrategy extends Strategy {
    declare success: (user: string) => void
    declare fail: (status: number) => void
    authenticate(request: FastifyRequest): void {
      const { name } = request.query as { name?: string }
      if (name === undefined) this.fail(401)
      else this.success(name)
    }
  }
  const app = await createApp(t)
  const passport = new Authenticator(options)
  await app.register(passport.initialize())
  await app.register(passport.secureSession())
  const gone = new Set<string>()
  passport.use('name', new NameStrategy('name'))
  passport.registerUserSerializer(async (user) => user)
  passport.registerUserDeserializer(async (stored) => (gone.has(stored) ? false : stored))

  app.get('/cart', async ({ session }) => session.set('cart', 'full'))
  const preValidation = passport.authenticate('name', { authInfo: false })
  app.get('/login', { preValidation }, async (request) => {
    const { user = '' } = request as PassportRequest
    // Passport has renewed the id; this adds the user's list of sessions.
    await request.session.setPrincipal(user, { renew: false })
  })
  app.get('/me', async (request) => ({
    user: (request as PassportRequest).user ?? null,
    cart: request.session.get('cart') ?? null
  }))
  app.get('/logout', async (request) => {
    await (request as PassportRequest).logOut()
    await request.session.destroy()
  })
  return { app, gone, ...visitor(app) }
}

test('@fastify/passport logs in, with a new id and without what was there before', async (t) => {
  const { app, ask, jar } = await passportSite(t)
  t.equal((await ask('/login')).statusCode, 401)
  await ask('/cart')
  const before = jar.get('id')
  t.equal((await ask('/login?name=ann')).statusCode, 200)
  t.not(jar.get('id'), before)
  t.same((await ask('/me')).json(), { user: 'ann', cart: null })
  t.equal(await app.sessions.count('ann'), 1)
  const attacker = visitor(app)
  attacker.jar.set('id', before ?? '')
  t.same((await attacker.ask('/me')).json(), { user: null, cart: null })
  await ask('/cart')
  t.same((await ask('/me')).json(), { user: 'ann', cart: 'full' })
  await ask('/logout')
  t.same((await ask('/me')).json(), { user: null, cart: null })
  t.equal(await app.sessions.count(), 0)
})

test('@fastify/passport with clearSessionOnLogin: false keeps the data, under a new id', async (t) => {
  const { ask, jar } = await passportSite(t, { clearSessionOnLogin: false })
  await ask('/cart')
  const before = jar.get('id')
  await ask('/login?name=ann')
  t.not(jar.get('id'), before)
  t.same((await ask('/me')).json(), { user: 'ann', cart: 'full' })
})

test('@fastify/passport logs out a user who is gone', async (t) => {
  const { ask, gone, jar } = await passportSite(t)
  await ask('/login?name=ann')
  const before = jar.get('id')
  gone.add('ann')
  t.match((await ask('/me')).json(), { user: null })
  t.not(jar.get('id'), before)
  gone.delete('ann')
  t.match((await ask('/me')).json(), { user: null })
})

type Flashing<Part> = Part & { flash(type: string, text?: string): unknown }

test('@fastify/flash shows a message once, however it was left', async (t) => {
  const app = await createApp(t)
  const { default: flash } = await load<{ default: FastifyPluginAsync }>('@fastify/flash')
  await app.register(flash)
  app.get('/leave', async (request) => {
    const flashing = request as Flashing<FastifyRequest>
    flashing.flash('info', 'saved')
    return flashing.flash('info', 'and sent')
  })
  app.get('/show', async (_request, reply) => (reply as Flashing<FastifyReply>).flash('info'))
  const { ask } = visitor(app)
  t.equal((await ask('/leave')).json(), 2)
  t.same((await ask('/show')).json(), ['saved', 'and sent'])
  t.same((await ask('/show')).json(), [])
})

test('@fastify/secure-session beside us under another name', async (t) => {
  const app = await createApp(t)
  const { default: secureSession } = await load<{
    default: FastifyPluginAsync<Record<string, unknown>>
  }>('@fastify/secure-session')
  await app.register(secureSession, {
    sessionName: 'note',
    cookieName: 'note',
    key: Buffer.alloc(32, 'a key of thirty-two bytes')
  })
  type Note = { get(key: string): unknown; set(key: string, value: unknown): void }
  const noteOf = (request: FastifyRequest) => (request as unknown as { note: Note }).note
  app.get('/set', async (request) => {
    request.session.set('where', 'on the server')
    noteOf(request).set('where', 'in the cookie')
  })
  app.get('/get', async (request) => [request.session.get('where'), noteOf(request).get('where')])
  const { ask, jar } = visitor(app)
  await ask('/set')
  t.same([...jar.keys()].sort(), ['id', 'note'])
  t.same((await ask('/get')).json(), ['on the server', 'in the cookie'])
})

test('@fastify/websocket: the session in an upgrade, and after it', async (t) => {
  const app = await createApp(t)
  await app.register(websocket)
  app.get('/login', async ({ session }) => session.setPrincipal('ann'))
  app.get('/socket', { websocket: true }, (socket, request) => {
    socket.on('message', async (text) => {
      request.session.set('last', String(text))
      await request.session.save()
      socket.send(`${request.session.principal} said ${text}`)
    })
  })
  const { ask, jar } = visitor(app)
  await ask('/login')
  const socket = await app.injectWS('/socket', { headers: { cookie: `id=${jar.get('id')}` } })
  const answer = new Promise((resolve) => socket.once('message', resolve))
  socket.send('hello')
  t.equal(String(await answer), 'ann said hello')
  socket.terminate()
  const session = await app.sessions.load(`id=${jar.get('id')}`)
  t.equal(session?.get('last'), 'hello')
})

test('inject keeps a session by its cookie alone', async (t) => {
  const app = await createApp(t)
  app.get('/', async ({ session }) => session.update<number>('n', (n = 0) => n + 1))
  const first = await app.inject('/')
  const [cookie] = first.cookies
  t.match(cookie, { name: 'id', path: '/', httpOnly: true, sameSite: 'Lax' })
  const second = await app.inject({ url: '/', cookies: { id: cookie?.value ?? '' } })
  t.equal(second.body, '2')
  t.equal((await app.inject('/')).body, '1')
})

test('a type provider types body and query beside the session', async (t) => {
  const app = (await createApp(t)).withTypeProvider<TypeBoxTypeProvider>()
  const querystring = Type.Object({ step: Type.Integer() })
  app.get('/', { schema: { querystring } }, async ({ query, session }) => {
    expectTypeOf(query.step).toBeNumber()
    expectTypeOf(session.get('counter')).toEqualTypeOf<number | undefined>()
    return session.update('counter', (counter = 0) => counter + query.step)
  })
  const { ask } = visitor(app as unknown as FastifyInstance)
  await ask('/?step=2')
  t.equal((await ask('/?step=3')).body, '5')
  t.equal((await ask('/?step=x')).statusCode, 400)
})
