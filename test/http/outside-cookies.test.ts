import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { type CookieOptions, MemoryStore, onInactivity } from '../../lib/index.js'
import { createApp, listen, TestClock, temporaryFolder } from '../support/app.js'

const forms: [string, CookieOptions][] = [
  ['plain', {}],
  ['signed', { signed: [randomBytes(32)] }],
  ['encrypted', { encrypted: [randomBytes(32)] }]
]

for (const [form, cookie] of forms) {
  test(`${form}: a session that is made outside a request logs a visitor in`, async (t) => {
    const path = await temporaryFolder(t)
    const app = await createApp(t, { path, cookie, expiry: onInactivity({ seconds: 100 }) })
    app.get('/', async ({ session }) => `${session.principal} ${session.get('plan')}`)
    const session = await app.sessions.create({
      principal: 'ann',
      data: { plan: 'pro' },
      metadata: 'a test'
    })
    const header = app.sessions.cookieOf(session)
    t.match(header, /^id=[\w.-]{43,}; Max-Age=110; Path=\/; HttpOnly; SameSite=Lax$/)
    const response = await app.inject({ url: '/', headers: { cookie: header.split(';')[0] } })
    t.equal(response.body, 'ann pro')
    t.match(await app.sessions.list('ann'), [{ handle: session.handle, metadata: 'a test' }])
    await app.close()

    const again = await createApp(t, { path, cookie })
    t.ok(await again.sessions.load(header.split(';')[0]), 'it was stored')
  })
}

test('it may hold nothing, have an expiry of its own, and be changed later', async (t) => {
  const clock = new TestClock()
  const app = await createApp(t, { store: new MemoryStore(), now: clock.now })
  const empty = await app.sessions.create()
  t.ok(empty.id)
  t.equal(await app.sessions.count(), 1)
  const short = await app.sessions.create({ expiry: onInactivity({ seconds: 5 }) })
  t.equal(short.expiresIn, 5000)
  short.set('later', 1)
  await short.save()
  t.equal((await app.sessions.get(short.handle ?? ''))?.get('later'), 1)
})

test('what cannot be stored is refused, and nothing is', async (t) => {
  const app = await createApp(t, { store: new MemoryStore() })
  const cases: [unknown, string][] = [
    [{ user: 'ann' }, 'SLED_SESSION_INVALID_OPTION'],
    [{ data: 5 }, 'SLED_SESSION_INVALID_OPTION'],
    [{ data: { a: () => 1 } }, 'SLED_SESSION_VALUE_NOT_STORABLE'],
    [{ principal: '' }, 'SLED_SESSION_INVALID_PRINCIPAL'],
    [{ principal: 5 }, 'SLED_SESSION_INVALID_PRINCIPAL'],
    [{ expiry: 5 }, 'SLED_SESSION_INVALID_EXPIRY']
  ]
  for (const [options, code] of cases) {
    await t.rejects(app.sessions.create(options as object), { code }, JSON.stringify(options))
  }
  t.equal(await app.sessions.count(), 0)
})

test('a hijacked response can set the cookie, and clear it', async (t) => {
  const app = await createApp(t, { cookie: { signed: [randomBytes(32)] } })
  app.get('/login', async ({ session }, reply) => {
    await session.setPrincipal('ann')
    await session.save()
    reply.hijack()
    reply.raw.writeHead(200, { 'set-cookie': app.sessions.cookieOf(session) }).end('in')
  })
  app.get('/logout', async ({ session }, reply) => {
    await session.destroy()
    reply.hijack()
    reply.raw.writeHead(200, { 'set-cookie': app.sessions.cookieOf(session) }).end('out')
  })
  app.get('/', async ({ session }) => String(session.principal))
  const url = await listen(app)
  const login = await fetch(`${url}/login`)
  const cookie = login.headers.getSetCookie()[0]?.split(';')[0] ?? ''
  t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'ann')
  const logout = await fetch(`${url}/logout`, { headers: { cookie } })
  t.match(logout.headers.getSetCookie(), [/^id=; Max-Age=0; Path=\//])
})

test('Secure follows the registration, or what the caller knows of the request', async (t) => {
  const options = { store: new MemoryStore() }
  const secure = await createApp(t, { ...options, secure: true })
  t.match(secure.sessions.cookieOf(await secure.sessions.create()), /; Secure$/)
  const auto = await createApp(t, { store: new MemoryStore(), secure: 'auto' })
  const session = await auto.sessions.create()
  t.match(auto.sessions.cookieOf(session), /; Secure$/)
  t.notMatch(auto.sessions.cookieOf(session, { secure: false }), /Secure/)
  const found = await auto.sessions.get(session.handle ?? '')
  t.throws(() => auto.sessions.cookieOf(found as NonNullable<typeof found>), {
    code: 'SLED_SESSION_ID_UNKNOWN'
  })
  t.throws(() => auto.sessions.cookieOf({} as typeof session), {
    code: 'SLED_SESSION_INVALID_OPTION'
  })
})
