import { type Test, test } from 'tap'
import { MemoryStore, type SessionStore, type SledSessionOptions } from '../../lib/index.js'
import { LmdbStore } from '../../lib/lmdb.js'
import { cookieOf, createApp, listen, temporaryFolder } from '../support/app.js'
import { Gate } from '../support/gate.js'
import { openApplicationDatabase } from '../support/rocksdb.js'

/** A shop with a login: who visits is told whether they are somebody. */
async function shop(t: Test, options: SledSessionOptions = {}) {
  const app = await createApp(t, options)
  app.get<{ Params: { who: string } }>('/login/:who', async (request) => {
    const metadata = { agent: request.headers['user-agent'] }
    await request.session.setPrincipal(request.params.who, { metadata })
    return { who: request.session.principal }
  })
  app.get<{ Params: { who: string } }>('/become/:who', async ({ session, params }) =>
    session.setPrincipal(params.who, { renew: false })
  )
  app.get('/renew', async ({ session }) => session.regenerate())
  app.get('/logout', async (request) => request.session.setPrincipal(null))
  app.get('/me', async ({ session }) => ({
    who: session.principal,
    cart: session.get('cart') ?? null,
    metadata: session.metadata ?? null
  }))
  app.get('/cart', async (request) => request.session.set('cart', 'full'))
  // Writes only once it is let go, into whatever has become of its session by then.
  const running = new Gate()
  const resume = new Gate()
  app.get('/slow', async ({ session }) => {
    running.open()
    await resume.opened
    session.set('cart', 'late')
    const { principal, isDestroyed } = session
    return { principal, isDestroyed, cart: session.get('cart') ?? null }
  })
  const url = await listen(app)
  const get = async (path: string, cookie = '', agent = 'test') => {
    const headers = { cookie, 'user-agent': agent }
    const response = await fetch(url + path, { headers })
    const text = await response.text()
    const set = cookieOf(response)
    return { status: response.status, body: text === '' ? null : JSON.parse(text), set }
  }
  const login = async (who: string) => (await get(`/login/${who}`)).set ?? ''
  return { app, get, login, running, resume }
}

const NOBODY = { who: null, cart: null, metadata: null }

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
  t.same((await get('/me', before)).body, NOBODY)
})

test("a planted session does not become the victim's at login (fixation)", async (t) => {
  const { get } = await shop(t)
  const planted = (await get('/cart')).set ?? ''
  const victim = (await get('/login/ann', planted)).set ?? ''
  t.equal((await get('/me', planted)).body.who, null)
  t.equal((await get('/me', victim)).body.who, 'ann')
})

test('a login ends the old id for a request under way on it too', async (t) => {
  const { app, get, running, resume } = await shop(t)
  const planted = (await get('/cart')).set ?? ''
  const slow = get('/slow', planted)
  await running.opened
  const victim = (await get('/login/ann', planted)).set ?? ''
  resume.open()
  const { status, body, set } = await slow
  t.equal(status, 200)
  t.same(body, { principal: null, isDestroyed: true, cart: null })
  t.equal(set, undefined)
  t.equal((await get('/me', victim)).body.cart, 'full', 'what it set is dropped')
  t.equal(await app.sessions.count(), 1)
})

test('two logins at once from one browser are two sessions, each logged in', async (t) => {
  const { app, get } = await shop(t)
  const before = (await get('/cart')).set ?? ''
  const logins = await Promise.all([get('/login/ann', before), get('/login/ann', before)])
  t.equal(new Set(logins.map(({ set }) => set)).size, 2)
  for (const { set } of logins) t.equal((await get('/me', set)).body.who, 'ann')
  t.same((await get('/me', before)).body, NOBODY)
  t.equal(await app.sessions.count('ann'), 2)
})

test('a logout by setPrincipal(null) keeps a session, of nobody, and takes it out of the list', async (t) => {
  const { app, get, login } = await shop(t)
  const cookie = await login('ann')
  await get('/cart', cookie)
  const out = await get('/logout', cookie)
  t.ok(out.set)
  t.not(out.set, cookie)
  t.same((await get('/me', out.set)).body, NOBODY)
  t.same((await get('/me', cookie)).body, NOBODY)
  t.same(await app.sessions.list('ann'), [])
  t.equal(await app.sessions.count(), 1)
})

test('a logout of somebody without a session begins none', async (t) => {
  const { app, get } = await shop(t)
  const out = await get('/logout')
  t.equal(out.status, 200)
  t.equal(out.set, undefined)
  t.equal(await app.sessions.count(), 0)
})

test('renew: false keeps the id, and moves the session between lists', async (t) => {
  const { app, get, login } = await shop(t)
  const cookie = await login('ann')
  t.equal((await get('/become/bob', cookie)).set, undefined)
  t.same((await get('/me', cookie)).body, { who: 'bob', cart: null, metadata: null })
  t.equal(await app.sessions.count('ann'), 0)
  t.equal(await app.sessions.count('bob'), 1)
})

test('a principal is a string of 1 to 1,024 bytes', async (t) => {
  const { app, login } = await shop(t)
  const session = await app.sessions.load(await login('ann'))
  for (const wrong of ['', 'x'.repeat(1025), 'é'.repeat(513), '\ud800', 7 as unknown as string]) {
    await t.rejects(session?.setPrincipal(wrong) ?? Promise.resolve(), {
      code: 'SLED_SESSION_INVALID_PRINCIPAL'
    })
  }
  t.equal(session?.principal, 'ann')
  for (const longest of ['x'.repeat(1024), 'é'.repeat(512), '__proto__', '\0']) {
    await session?.setPrincipal(longest)
    t.equal(await app.sessions.count(longest), 1)
  }
})

test('a login as nobody that can be stored is an error that leaves the session as it was', async (t) => {
  const { get, login } = await shop(t)
  const cookie = await login('ann')
  const { status, body, set } = await get('/login/', cookie)
  t.equal(status, 500)
  t.match(body, { code: 'SLED_SESSION_INVALID_PRINCIPAL' })
  t.equal(set, undefined)
  t.equal((await get('/me', cookie)).body.who, 'ann')
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
  t.same(session.metadata, { agent: 'test' })
  session.metadata = { name: 'my phone', since: new Date(5) }
  await session.save()
  const [info] = await app.sessions.list('ann')
  t.strictSame(info?.metadata, { name: 'my phone', since: new Date(5) })
})

test('metadata stays until it is replaced, or removed by undefined', async (t) => {
  const { app, login } = await shop(t)
  const session = await app.sessions.load(await login('ann'))
  const listed = async () => (await app.sessions.list('ann'))[0]?.metadata
  await session?.setPrincipal('ann')
  t.same(await listed(), { agent: 'test' })
  await session?.setPrincipal('ann', { metadata: 'my phone' })
  t.equal(await listed(), 'my phone')
  await session?.setPrincipal('ann', { metadata: undefined })
  t.equal(await listed(), undefined)
})

test('metadata that cannot be stored fails the login before anything is changed', async (t) => {
  const { app, get, login } = await shop(t)
  const cookie = await login('ann')
  const session = await app.sessions.load(cookie)
  const refused = session?.setPrincipal('bob', { metadata: 'x'.repeat(5000) })
  await t.rejects(refused ?? Promise.resolve(), { code: 'SLED_SESSION_TOO_LARGE' })
  t.match((await get('/me', cookie)).body, { who: 'ann', metadata: { agent: 'test' } })
})

test('what a request sets while its session is revoked is dropped', async (t) => {
  const { app, get, login, running, resume } = await shop(t)
  const slow = get('/slow', await login('ann'))
  await running.opened
  t.equal(await app.sessions.revokeAll('ann'), 1)
  resume.open()
  const { body, set } = await slow
  t.same(body, { principal: null, isDestroyed: true, cart: null })
  t.equal(set, undefined)
  t.equal(await app.sessions.count(), 0)
})

test('revoke ends one session at once, by its handle or its id', async (t) => {
  const { app, get, login } = await shop(t)
  const whoIs = async (cookie: string) => (await get('/me', cookie)).body.who
  const [phone, laptop] = [await login('ann'), await login('ann')]
  const handle = (await app.sessions.load(phone))?.handle ?? ''
  t.equal(await app.sessions.revoke(handle), true)
  t.equal(await whoIs(phone), null)
  t.equal(await whoIs(laptop), 'ann')
  t.equal(await app.sessions.revoke(handle), false)
  t.equal(await app.sessions.revoke(laptop.slice('id='.length)), true)
  t.equal(await whoIs(laptop), null)
  for (const nobody of ['', 'garbage', 'A'.repeat(43), null as unknown as string]) {
    t.equal(await app.sessions.revoke(nobody), false)
  }
})

test("revoke with a principal ends only that user's sessions", async (t) => {
  const { app, get, login } = await shop(t)
  const bob = await login('bob')
  const handle = (await app.sessions.load(bob))?.handle ?? ''
  for (const name of [handle, bob.slice('id='.length)]) {
    t.equal(await app.sessions.revoke(name, { principal: 'ann' }), false)
  }
  t.equal((await get('/me', bob)).body.who, 'bob')
  t.equal(await app.sessions.revoke(handle, { principal: 'bob' }), true)
  t.equal((await get('/me', bob)).body.who, null)
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

/** Calls back once, between the listing of a user's sessions and their reading. */
function listingThen<T extends SessionStore>(store: T, act: () => Promise<unknown>): T {
  const walk = store.handlesOf.bind(store)
  let acted = false
  store.handlesOf = async function* (principal) {
    const listed: string[][] = []
    for await (const handles of walk(principal)) listed.push(handles)
    if (!acted) await act()
    acted = true
    yield* listed
  }
  return store
}

for (const kind of ['memory', 'lmdb']) {
  test(`${kind}: a session that is renewed while its user is logged out everywhere ends too`, async (t) => {
    const renewed: string[] = []
    const store =
      kind === 'memory' ? new MemoryStore() : new LmdbStore({ path: await temporaryFolder(t) })
    const { app, get, login } = await shop(t, {
      store: listingThen(store, async () => renewed.push((await get('/renew', cookie)).set ?? ''))
    })
    const cookie = await login('ann')
    await app.sessions.revokeAll('ann')
    t.same((await get('/me', cookie)).body, NOBODY)
    t.match(renewed, [/./])
    t.same((await get('/me', renewed[0])).body, NOBODY)
    t.equal(await app.sessions.count(), 0)
  })
}
