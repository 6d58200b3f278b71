import { type Test, test } from 'tap'
import { onInactivity, type SledSessionOptions } from '../lib/index.js'
import { cookieOf, createApp, listen, TestClock, temporaryFolder } from './support/app.js'
import { Gate } from './support/gate.js'
import { countKind, openApplicationDatabase, readDatabase } from './support/rocksdb.js'

/** A shop with a login: who visits is told whether they are somebody. */
async function shop(t: Test, options: SledSessionOptions = {}) {
  const app = await createApp(t, options)
  app.get<{ Params: { who: string } }>('/login/:who', async (request) => {
    const metadata = { agent: request.headers['user-agent'] }
    await request.session.setPrincipal(request.params.who, { metadata })
    return { who: request.session.principal }
  })
  app.get('/logout', async (request) => request.session.setPrincipal(null))
  app.get('/me', async ({ session }) => ({
    who: session.principal,
    cart: session.get('cart') ?? null,
    metadata: session.metadata ?? null
  }))
  app.get('/cart', async (request) => request.session.set('cart', 'full'))
  const url = await listen(app)
  const get = async (path: string, cookie = '', agent = 'test') => {
    const headers = { cookie, 'user-agent': agent }
    const response = await fetch(url + path, { headers })
    const text = await response.text()
    const set = cookieOf(response)
    return { status: response.status, body: text === '' ? null : JSON.parse(text), set }
  }
  const login = async (who: string, agent?: string) =>
    (await get(`/login/${who}`, '', agent)).set ?? ''
  return { app, get, login }
}

test('a login renews the id, keeps the data, and the old id is dead', async (t) => {
  const { get } = await shop(t)
  const before = (await get('/cart')).set ?? ''
  const login = await get('/login/ann', before)
  t.same(login.body, { who: 'ann' })
  t.ok(login.set)
  t.not(login.set, before)
  t.same((await get('/me', login.set)).body, {
    who: 'ann',
    cart: 'full',
    metadata: { agent: 'test' }
  })
  t.same((await get('/me', before)).body, { who: null, cart: null, metadata: null })
})

test("a planted session does not become the victim's at login (fixation)", async (t) => {
  const { get } = await shop(t)
  const planted = (await get('/cart')).set ?? ''
  const victim = (await get('/login/ann', planted)).set ?? ''
  t.equal((await get('/me', planted)).body.who, null)
  t.equal((await get('/me', victim)).body.who, 'ann')
})

test('a logout by setPrincipal(null) keeps the session and takes it out of the list', async (t) => {
  const { app, get, login } = await shop(t)
  const cookie = await login('ann')
  const out = await get('/logout', cookie)
  t.not(out.set, cookie)
  t.equal((await get('/me', out.set)).body.who, null)
  t.same(await app.sessions.list('ann'), [])
})

test('renew: false keeps the id, and moves the session between lists', async (t) => {
  const { app, get, login } = await shop(t)
  const cookie = await login('ann')
  const session = await app.sessions.load(cookie)
  await session?.setPrincipal('bob', { renew: false })
  await session?.save()
  t.equal((await get('/me', cookie)).body.who, 'bob')
  t.equal(await app.sessions.count('ann'), 0)
  t.equal(await app.sessions.count('bob'), 1)
})

test('a principal is a text of 1 to 1,024 bytes', async (t) => {
  const { app, login } = await shop(t)
  const session = await app.sessions.load(await login('ann'))
  for (const wrong of ['', 'x'.repeat(1025), 'é'.repeat(513), '\ud800', 7 as unknown as string]) {
    await t.rejects(session?.setPrincipal(wrong) ?? Promise.resolve(), {
      code: 'SLED_SESSION_INVALID_PRINCIPAL'
    })
    await t.rejects(app.sessions.list(wrong), { code: 'SLED_SESSION_INVALID_PRINCIPAL' })
  }
  t.equal(session?.principal, 'ann')
})

test('metadata is bounded and must be storable', async (t) => {
  const { app, login } = await shop(t)
  const session = await app.sessions.load(await login('ann'))
  if (session === null) throw new Error('no session')
  t.throws(
    () => {
      session.metadata = 'x'.repeat(5000)
    },
    { code: 'SLED_SESSION_TOO_LARGE' }
  )
  t.throws(
    () => {
      session.metadata = () => {}
    },
    { code: 'SLED_SESSION_VALUE_NOT_STORABLE' }
  )
  session.metadata = { name: 'my phone', since: new Date(5) }
  await session.save()
  const [info] = await app.sessions.list('ann')
  t.strictSame(info?.metadata, { name: 'my phone', since: new Date(5) })
})

test("a user's sessions are listed with times and metadata, last used first", async (t) => {
  const clock = new TestClock()
  const { app, get, login } = await shop(t, { now: clock.now, expiry: onInactivity({ hours: 1 }) })
  const start = clock.time
  const phone = await login('ann', 'phone')
  clock.advance({ seconds: 10 })
  const laptop = await login('ann', 'laptop')
  await login('bob')
  clock.advance({ seconds: 10 })
  await get('/me', phone)

  const list = await app.sessions.list('ann')
  t.strictSame(
    list.map(({ handle: _, ...info }) => info),
    [
      {
        createdAt: new Date(start),
        lastSeenAt: new Date(start + 20_000),
        expiresAt: new Date(start + 3_620_000),
        metadata: { agent: 'phone' }
      },
      {
        createdAt: new Date(start + 10_000),
        lastSeenAt: new Date(start + 10_000),
        expiresAt: new Date(start + 3_610_000),
        metadata: { agent: 'laptop' }
      }
    ]
  )
  const text = JSON.stringify(list)
  for (const cookie of [phone, laptop]) t.notOk(text.includes(cookie.slice(3)), 'no id in it')
  t.equal(await app.sessions.count('ann'), 2)
  t.equal(await app.sessions.count('bob'), 1)
  t.equal(await app.sessions.count(), 3)

  clock.advance({ seconds: 3595 })
  t.equal(await app.sessions.count('ann'), 1, 'expired sessions are not listed, reaped or not')
})

test('revoke ends one session at once, for a request under way too', async (t) => {
  const { app, get, login } = await shop(t)
  const [phone, laptop] = [await login('ann'), await login('ann')]
  const handle = (await app.sessions.load(phone))?.handle ?? ''
  t.equal(await app.sessions.revoke(handle), true)
  t.equal((await get('/me', phone)).body.who, null)
  t.equal((await get('/me', laptop)).body.who, 'ann')
  t.equal(await app.sessions.revoke(handle), false)
  t.equal(await app.sessions.revoke(laptop.slice('id='.length)), true, 'by id as well')
  for (const nobody of ['', 'garbage', 'A'.repeat(43), null as unknown as string]) {
    t.equal(await app.sessions.revoke(nobody), false)
  }
})

test("revoke with a principal ends only that user's sessions", async (t) => {
  const { app, get, login } = await shop(t)
  const bob = await login('bob')
  const handle = (await app.sessions.load(bob))?.handle ?? ''
  t.equal(await app.sessions.revoke(handle, { principal: 'ann' }), false)
  t.equal((await get('/me', bob)).body.who, 'bob')
  t.equal(await app.sessions.revoke(handle, { principal: 'bob' }), true)
  t.equal((await get('/me', bob)).body.who, null)
})

test('revokeAll ends all sessions of a user but one', async (t) => {
  const { app, get, login } = await shop(t)
  const cookies = await Promise.all(Array.from({ length: 20 }, () => login('ann')))
  const bob = await login('bob')
  const [kept = ''] = cookies
  const session = await app.sessions.load(kept)
  t.equal(await app.sessions.revokeAll('ann', { except: session ?? undefined }), 19)
  t.equal(await app.sessions.revokeAll('ann', { except: session?.handle ?? undefined }), 0)
  t.equal(await app.sessions.revokeAll('ann', { except: session?.id }), 0)
  t.equal((await get('/me', kept)).body.who, 'ann')
  t.equal((await get('/me', cookies[1])).body.who, null)
  t.equal(await app.sessions.revokeAll('ann', { except: 'A'.repeat(43) }), 1)
  t.equal(await app.sessions.revokeAll('nobody'), 0)
  t.equal((await get('/me', bob)).body.who, 'bob')
})

test('what a request sets while its session is revoked is dropped', async (t) => {
  const app = await createApp(t)
  const running = new Gate()
  const revoked = new Gate()
  app.get('/login', async (request) => request.session.setPrincipal('ann'))
  app.get('/slow', async (request) => {
    running.open()
    await revoked.opened
    const { principal, isDestroyed } = request.session
    request.session.set('cart', 'full')
    return { principal, isDestroyed, cart: request.session.get('cart') ?? null }
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(`${url}/login`)) ?? ''
  const slow = fetch(`${url}/slow`, { headers: { cookie } })
  await running.opened
  t.equal(await app.sessions.revokeAll('ann'), 1)
  revoked.open()
  const response = await slow
  t.same(await response.json(), { principal: null, isDestroyed: true, cart: null })
  t.same(response.headers.getSetCookie(), [])
  t.equal(await app.sessions.count(), 0)
})

test('the index survives a restart and agrees with the records', async (t) => {
  const path = await temporaryFolder(t)
  const before = await shop(t, { path })
  const cookies = await Promise.all(Array.from({ length: 5 }, () => before.login('ann')))
  await before.login('bob')
  await before.get('/logout', cookies[0])
  await before.get('/login/bob', cookies[1])
  await before.app.sessions.revoke((await before.app.sessions.load(cookies[2]))?.handle ?? '')
  await before.app.close()

  const entries = await readDatabase(path)
  t.equal(countKind(entries, 1), 5)
  t.equal(countKind(entries, 2), 5)
  t.equal(countKind(entries, 3), 4)
  const after = await shop(t, { path })
  t.equal(await after.app.sessions.count('ann'), 2)
  t.equal(await after.app.sessions.count('bob'), 2)
  t.equal(await after.app.sessions.revokeAll('ann'), 2)
  await after.app.close()
  t.equal(countKind(await readDatabase(path), 3), 2)
})

test('listing costs what that user has, not what others have', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const { app, login } = await shop(t, { db })
  for (let index = 0; index < 50; index++) await login(`user ${index}`)
  await login('ann')
  const before = traffic.iterated
  await app.sessions.list('ann')
  t.equal(traffic.iterated - before, 1)
  await app.close()
  await db.close()
})
