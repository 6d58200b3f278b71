import { test } from 'tap'
import { MemoryStore, onInactivity, type SledSessionOptions } from '../lib/index.js'
import { addCounter, cookieOf, createApp, listen, TestClock } from './support/app.js'
import { until } from './support/until.js'

const stores: [string, () => SledSessionOptions][] = [
  ['RocksDB', () => ({})],
  ['memory', () => ({ store: new MemoryStore() })]
]

for (const [kind, options] of stores) {
  test(`${kind}: sessions can be read and changed outside a request`, async (t) => {
    const app = await createApp(t, options())
    addCounter(app)
    const url = await listen(app)
    const cookie = cookieOf(await fetch(url)) ?? ''
    const { handle = null } = (await app.sessions.load(cookie)) ?? {}
    if (handle === null) throw new Error('no session')

    t.equal((await app.sessions.get(handle))?.get('counter'), 1)
    t.equal(await app.sessions.update(handle, (session) => session.set('counter', 10)), true)
    t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'Current count: 10')

    const session = await app.sessions.get(handle)
    session?.set('counter', 20)
    t.equal(session?.isModified, true)
    await session?.save()
    t.equal(session?.isModified, false)
    t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'Current count: 20')

    t.equal(await app.sessions.destroy(handle), true)
    t.equal(await app.sessions.destroy(handle), false)
    t.equal(await app.sessions.get(handle), null)
    t.equal(await app.sessions.update(handle, () => t.fail('called')), false)
    t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'Current count: 0')
  })

  test(`${kind}: what is set outside a request and not saved is stored by itself`, async (t) => {
    const app = await createApp(t, options())
    addCounter(app)
    const cookie = cookieOf(await fetch(await listen(app))) ?? ''
    const session = await app.sessions.load(cookie)
    session?.set('counter', 5)
    await until(() => session?.isModified === false)
    await session?.reload()
    t.equal(session?.get('counter'), 5)
  })
}

test('update passes on what its function throws, and stores nothing of it', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  const cookie = cookieOf(await fetch(await listen(app))) ?? ''
  const handle = (await app.sessions.load(cookie))?.handle ?? ''
  const updating = app.sessions.update(handle, async () => {
    throw new Error('no')
  })
  await t.rejects(updating, { message: 'no' })
  t.equal((await app.sessions.get(handle))?.get('counter'), 1)
})

test('a session that was found by its handle does not tell its id', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  const cookie = cookieOf(await fetch(await listen(app))) ?? ''
  const loaded = await app.sessions.load(cookie)
  t.equal(loaded?.id, cookie.slice('id='.length))
  const found = await app.sessions.get(loaded?.handle ?? '')
  t.throws(() => found?.id, { code: 'SLED_SESSION_ID_UNKNOWN' })
  t.ok(await app.sessions.get(loaded?.id ?? ''), 'who has the id may find it by that')
})

test('load finds the session of a Cookie header, and counts as activity', async (t) => {
  const clock = new TestClock()
  const expiry = onInactivity({ seconds: 10 })
  const app = await createApp(t, { now: clock.now, expiry })
  addCounter(app)
  const cookie = cookieOf(await fetch(await listen(app))) ?? ''
  clock.advance({ seconds: 9 })
  const session = await app.sessions.load(`a=b; ${cookie}; c=d`)
  t.equal(session?.get('counter'), 1)
  t.equal(session?.expiresIn, 10_000)
  clock.advance({ seconds: 9 })
  t.ok(await app.sessions.load(cookie))
  clock.advance({ seconds: 10 })
  t.equal(await app.sessions.load(cookie), null)
  for (const header of [undefined, '', 'id=', 'id=garbage', `${cookie}; ${cookie}`]) {
    t.equal(await app.sessions.load(header), null)
  }
})

test('looking at a session is not activity', async (t) => {
  const clock = new TestClock()
  const expiry = onInactivity({ seconds: 10 })
  const app = await createApp(t, { now: clock.now, expiry })
  addCounter(app)
  const cookie = cookieOf(await fetch(await listen(app))) ?? ''
  const handle = (await app.sessions.load(cookie))?.handle ?? ''
  clock.advance({ seconds: 9 })
  t.equal((await app.sessions.get(handle))?.expiresIn, 1000)
  clock.advance({ seconds: 1 })
  t.equal(await app.sessions.get(handle), null)
})

test('sessions outside a request can be destroyed, renewed and reloaded', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const session = await app.sessions.load(cookie)
  if (session === null) throw new Error('no session')
  await session.regenerate()
  t.equal(await app.sessions.load(cookie), null)
  const renewed = { cookie: `id=${session.id}` }
  t.equal(await (await fetch(url, { headers: renewed })).text(), 'Current count: 1')
  await session.reload()
  t.equal(session.get('counter'), 2)
  await session.destroy()
  t.equal(await (await fetch(url, { headers: renewed })).text(), 'Current count: 0')
})
