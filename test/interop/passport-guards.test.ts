import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { type Test, test } from 'tap'
import { MemoryStore, type SledSessionOptions } from '../../lib/index.js'
import { nextTurn } from '../../lib/timers.js'
import { createApp, TestClock } from '../support/app.js'

type Guard = (request: FastifyRequest, reply: FastifyReply) => Promise<void>
interface Passport {
  initialize(): FastifyPluginAsync
  secureSession(): FastifyPluginAsync
  use(name: string, strategy: object): void
  authenticate(name: string, options?: object): Guard
  registerUserSerializer(fn: (user: string) => Promise<string>): void
  registerUserDeserializer(fn: (stored: string) => Promise<string>): void
}
interface PassportModule {
  Authenticator: new () => Passport
  Strategy: new (name: string) => object
}

// By a name that the compiler does not follow: it declares a request.session of its own.
const load = async (name: string): Promise<PassportModule> => (await import(name)) as PassportModule

class SlowStore extends MemoryStore {
  override async save(...args: Parameters<MemoryStore['save']>): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await nextTurn()
    return super.save(...args)
  }
}

const STORES: Record<string, () => SledSessionOptions> = {
  RocksDB: () => ({}),
  'a store that answers late': () => ({ store: new SlowStore() })
}

/** A site whose `/secret` is behind a strategy that lets in who gives a name. */
async function site(
  t: Test,
  options: SledSessionOptions,
  authenticating: object,
  withSessions = true
) {
  const { Authenticator, Strategy } = await load('@fastify/passport')
  class NameStrategy extends Strategy {
    declare success: (user: string) => void
    declare fail: (challenge: string, status: number) => void
    authenticate(request: FastifyRequest): void {
      const { name } = request.query as { name?: string }
      if (name === undefined) this.fail('say who you are', 401)
      else this.success(name)
    }
  }
  const app = await createApp(t, options)
  const passport = new Authenticator()
  await app.register(passport.initialize())
  if (withSessions) await app.register(passport.secureSession())
  passport.use('name', new NameStrategy('name'))
  passport.registerUserSerializer(async (user) => user)
  passport.registerUserDeserializer(async (stored) => stored)
  const served: string[] = []
  const preValidation = passport.authenticate('name', authenticating)
  app.get('/secret', { preValidation }, async () => {
    served.push('the secret')
    return { secret: 42 }
  })
  app.get('/in', async ({ session }) => session.setPrincipal('ann'))
  return { served, get: asking(app) }
}

function asking(app: FastifyInstance) {
  return async (url: string, cookie = '') => {
    const response = await app.inject({ url, headers: { cookie } })
    const set = String(response.headers['set-cookie'] ?? '').split(';')[0] ?? ''
    return { response, cookie: set }
  }
}

for (const [name, options] of Object.entries(STORES)) {
  test(`a failed strategy that leaves a message in the session: ${name}`, async (t) => {
    const { get, served } = await site(t, options(), { failureMessage: true })
    const { response, cookie } = await get('/secret')
    t.equal(response.statusCode, 401)
    t.equal(response.body, 'Unauthorized')
    t.match(cookie, /^id=./)
    t.same(served, [])
  })

  test(`a strategy that redirects after the login: ${name}`, async (t) => {
    const { get, served } = await site(t, options(), { successRedirect: '/home', authInfo: false })
    const { response, cookie } = await get('/secret?name=ann')
    t.equal(response.statusCode, 302)
    t.equal(response.headers.location, '/home')
    t.equal(response.body, '')
    t.match(cookie, /^id=./)
    t.same(served, [])
  })

  test(`a failed strategy without sessions of passport, as a touch is due: ${name}`, async (t) => {
    const clock = new TestClock()
    const { get, served } = await site(t, { ...options(), now: clock.now }, {}, false)
    const { cookie } = await get('/in')
    clock.advance({ seconds: 61 })
    const { response } = await get('/secret', cookie)
    t.equal(response.statusCode, 401)
    t.equal(response.body, 'Unauthorized')
    t.same(served, [])
  })
}
