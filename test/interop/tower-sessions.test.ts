import { type Test, test } from 'tap'
import { atDateTime, MemoryStore, onInactivity, onSessionEnd } from '../../lib/index.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import { createApp, TestClock } from '../support/app.js'
import { bind, visitor } from '../support/visitor.js'

// What docs/api-map.md says of tower-sessions 0.14, row by row.

const KEY = 'a secret for tests that is long enough to be one'

test('Session::insert and get: a value that is set is there in the next request', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', { items: [1, 2] }))
  t.same(await run(({ session }) => session.get('cart')), { items: [1, 2] })
  t.equal(await run(({ session }) => session.get('nothing')), undefined)
})

test('Session::remove: pop gives the value and removes it, delete says whether it was there', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', 'full'))
  t.equal(await run(({ session }) => session.pop('cart')), 'full')
  t.equal(await run(({ session }) => session.has('cart')), false)
  t.equal(await run(({ session }) => session.delete('cart')), false)
})

test('Session::clear and is_empty: an emptied session goes on under its id', async (t) => {
  const { run, who } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', 'full'))
  const { cookie } = who
  await run(({ session }) => session.clear())
  const after = await run(({ session }) => [session.isEmpty, session.size, session.isNew])
  t.same(after, [true, 0, false])
  t.equal(who.cookie, cookie)
})

test('Session::is_modified: by set, and by a change in place', async (t) => {
  const { run } = bind(await visitor(t))
  t.equal(
    await run(({ session }) => {
      session.set('cart', [])
      return session.isModified
    }),
    true
  )
  t.equal(await run(({ session }) => session.isModified), false)
  t.equal(
    await run(({ session }) => {
      session.get<string[]>('cart')?.push('soap')
      return session.isModified
    }),
    true
  )
  t.same(await run(({ session }) => session.get('cart')), ['soap'])
})

test('Session::id: 256 random bits, and a handle to speak of it', async (t) => {
  const { run, who } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', 'full'))
  const [id, handle] = (await run(({ session }) => [session.id, session.handle])) as string[]
  t.equal(who.cookie, `id=${id}`)
  t.equal(Buffer.from(id ?? '', 'base64url').length, 32)
  t.equal(handle, handleOf(id ?? ''))
})

test('Session::expiry, set_expiry, expiry_date, expiry_age: of one session alone', async (t) => {
  const clock = new TestClock()
  const expiry = onInactivity({ minutes: 5 })
  const { run } = bind(await visitor(t, { now: clock.now, expiry }))
  await run(({ session }) => session.set('cart', 'full'))
  t.same(await run(({ session }) => session.expiry), expiry)
  t.equal(await run(({ session }) => session.expiresIn), 300_000)
  const date = new Date(clock.time + 1000)
  await run(({ session }) => {
    session.expiry = atDateTime(date)
  })
  t.same(await run(({ session }) => session.expiresAt), date)
  clock.advance({ seconds: 1 })
  t.equal(await run(({ session }) => session.isNew), true)
})

test('Session::save and load: at any moment of a request', async (t) => {
  const { run } = bind(await visitor(t))
  await run(async ({ session }) => {
    session.set('cart', 'full')
    await session.save()
    session.set('cart', 'unsaved')
    await session.reload()
    t.equal(session.get('cart'), 'full')
  })
  t.equal(await run(({ session }) => session.get('cart')), 'full')
})

test('Session::delete and flush: the session is gone, and so is its cookie', async (t) => {
  const { run, who } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', 'full'))
  const former = who.cookie
  await run(({ session }) => session.destroy())
  t.equal(who.cookie, 'id=')
  who.cookie = former
  t.equal(await run(({ session }) => session.get('cart')), undefined)
})

test('Session::cycle_id: another id for the same data, and the old one is dead', async (t) => {
  const { run, who } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', 'full'))
  const former = who.cookie
  await run(({ session }) => session.regenerate())
  t.not(who.cookie, former)
  t.equal(await run(({ session }) => session.get('cart')), 'full')
  who.cookie = former
  t.equal(await run(({ session }) => session.get('cart')), undefined)
})

async function setCookie(t: Test, options: Parameters<typeof createApp>[1]): Promise<string> {
  const app = await createApp(t, options)
  app.get('/', async ({ session }) => session.set('cart', 'full'))
  return String((await app.inject('/')).headers['set-cookie'])
}

test('SessionManagerLayer::with_name, path, domain, http_only, same_site, secure', async (t) => {
  const cookie = {
    ...{ name: 'sid', path: '/', domain: 'example.org' },
    ...{ httpOnly: false, sameSite: 'strict' as const }
  }
  const header = await setCookie(t, { cookie, secure: true })
  t.match(header, /^sid=[\w-]{43}; Path=\/; Domain=example\.org; SameSite=Strict; Secure$/i)
})

test('SessionManagerLayer::with_expiry: session end, inactivity or a date', async (t) => {
  const clock = new TestClock()
  const { now } = clock
  const date = new Date(clock.time + 60_000)
  t.notMatch(await setCookie(t, { expiry: onSessionEnd(), now }), /Max-Age|Expires/)
  t.match(await setCookie(t, { expiry: onInactivity({ seconds: 90 }), now }), /Max-Age=\d+/)
  t.match(await setCookie(t, { expiry: atDateTime(date), now }), /Max-Age=\d+/)
})

test('SessionManagerLayer::with_always_save: each response sends the cookie', async (t) => {
  const { run, who } = bind(await visitor(t, { alwaysSave: true }))
  await run(({ session }) => session.set('cart', 'full'))
  const { cookie } = who
  who.cookie = `${cookie}; other=1`
  await run(() => {})
  t.equal(who.cookie, cookie)
})

test('SessionManagerLayer::with_signed and with_private', async (t) => {
  t.match(await setCookie(t, { cookie: { signed: [KEY] } }), /^id=[\w-]{43}\.[\w-]+;/)
  const header = await setCookie(t, { cookie: { encrypted: [KEY] } })
  t.notMatch(header, /^id=[\w-]{43};/)
})

test('SessionStore::create, save, load, delete, and deletion of expired ones', async (t) => {
  const clock = new TestClock()
  const store = new MemoryStore()
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  await store.open({ now: clock.now, log })
  const id = createSessionId()
  const record = store.create({
    handle: handleOf(id),
    createdAt: clock.time,
    lastSeenAt: clock.time,
    expiresAt: clock.time + 1000
  })
  t.equal(await store.load(id), null)
  await store.save(record, null)
  t.ok(await store.load(id))
  await store.destroy(record)
  t.equal(await store.load(id), null)
  const late = store.create({
    handle: handleOf(createSessionId()),
    createdAt: clock.time,
    lastSeenAt: clock.time,
    expiresAt: clock.time + 1000
  })
  await store.save(late, null)
  clock.advance({ seconds: 1 })
  t.equal(await store.deleteExpired(), 1)
  await store.close()
})
