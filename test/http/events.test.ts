import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { type Test, test } from 'tap'
import {
  MemoryStore,
  type SessionEvents,
  type SledSessionOptions,
  sledSession
} from '../../lib/index.js'
import { handleOf } from '../../lib/record/handle.js'
import { recordKey } from '../../lib/store/format/keys.js'
import { cookieOf, createApp, listen, TestClock, temporaryFolder } from '../support/app.js'
import { openApplicationDatabase, putRaw } from '../support/rocksdb.js'

const NAMES: (keyof SessionEvents)[] = ['created', 'loaded', 'saved', 'destroyed', 'regenerated']
NAMES.push('revoked', 'expired', 'rejected', 'reaped', 'quarantined', 'store-error')

/** Everything that is published until the test ends, as `[event, message]`. */
function listenIn(t: Test): [event: string, message: unknown][] {
  const heard: [string, unknown][] = []
  for (const name of NAMES) {
    const hear = (message: unknown): void => void heard.push([name, message])
    subscribe(`fastify-sled-session:${name}`, hear)
    t.teardown(() => unsubscribe(`fastify-sled-session:${name}`, hear))
  }
  return heard
}

async function site(t: Test, options: SledSessionOptions = {}) {
  const lines: string[] = []
  const app = await createApp(t, options, {
    logger: { level: 'debug', stream: { write: (line) => lines.push(line) } }
  })
  let visits = 0
  app.get('/set', async ({ session }) => session.set('secret', `the data ${visits++}`))
  app.get('/see', async ({ session }) => String(session.has('secret')))
  app.get('/renew', async ({ session }) => session.regenerate())
  app.get('/login', async ({ session }) => session.setPrincipal('ann@example.org'))
  app.get('/destroy', async ({ session }) => session.destroy())
  const url = await listen(app)
  const get = async (path: string, cookie = '') => {
    const response = await fetch(url + path, { headers: { cookie } })
    return { status: response.status, cookie: cookieOf(response) ?? '' }
  }
  /** Why the plugin refused a cookie, as the log has it. */
  const reasons = () =>
    lines.map((line) => JSON.parse(line)).filter(({ reason }) => reason !== undefined)
  return { app, get, lines, reasons }
}

/** How events name the session of a plain cookie. */
function shortOf(cookie: string): string {
  return handleOf(cookie.slice('id='.length)).slice(0, 8)
}

test('a session from its first value to its end', async (t) => {
  const { get } = await site(t)
  const heard = listenIn(t)
  const event = (cookie: string) => ({ sessionName: 'session', session: shortOf(cookie) })

  const { cookie } = await get('/set')
  t.same(heard.splice(0), [['created', event(cookie)]])
  await get('/see', cookie)
  t.same(heard.splice(0), [['loaded', event(cookie)]])
  await get('/set', cookie)
  t.same(heard.splice(0), [
    ['loaded', event(cookie)],
    ['saved', event(cookie)]
  ])
  const { cookie: renewed } = await get('/renew', cookie)
  t.same(heard.splice(0), [
    ['loaded', event(cookie)],
    ['regenerated', { ...event(renewed), previous: shortOf(cookie) }]
  ])
  const { cookie: ann } = await get('/login', renewed)
  t.same(heard.splice(0), [
    ['loaded', event(renewed)],
    ['regenerated', { ...event(ann), previous: shortOf(renewed) }]
  ])
  await get('/destroy', ann)
  t.same(heard.splice(0), [
    ['loaded', event(ann)],
    ['destroyed', event(ann)]
  ])
})

test('no event has an id, a user or data, not even in its nested parts', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const { app, get } = await site(t, { db })
  const heard = listenIn(t)
  const { cookie } = await get('/set')
  const { cookie: ann } = await get('/login', cookie)
  await get('/see', cookie)
  traffic.failing = 'write'
  await get('/set', ann)
  traffic.failing = null
  await app.sessions.revokeAll('ann@example.org')
  const told = heard.map(([name, message]) => {
    const { error } = message as { error?: Error }
    return `${name} ${JSON.stringify(message)} ${error?.stack} ${error?.cause}`
  })
  t.ok(told.length > 6)
  const ids = [cookie.slice('id='.length), ann.slice('id='.length)]
  for (const secret of [...ids, ...ids.map(handleOf), 'ann@example.org', 'the data']) {
    t.same(
      told.filter((text) => text.includes(secret)),
      []
    )
  }
  await app.close()
  await db.close()
})

test('revoke, revokeAll and destroy of the manager are each a revocation', async (t) => {
  const { app, get } = await site(t)
  const logins = [await get('/login'), await get('/login'), await get('/login')]
  const shorts = logins.map(({ cookie }) => shortOf(cookie))
  const heard = listenIn(t)
  const [first, second] = logins.map(({ cookie }) => cookie.slice('id='.length))
  await app.sessions.revoke(first ?? '')
  await app.sessions.revoke(second ?? '')
  await app.sessions.revokeAll('ann@example.org')
  await app.sessions.revoke(first ?? '')
  t.same(
    heard,
    shorts.map((session) => ['revoked', { sessionName: 'session', session }])
  )
})

test('a request that comes too late hears of it, and the reaper tells how many it deleted', async (t) => {
  const clock = new TestClock()
  const { app, get, lines } = await site(t, { now: clock.now })
  const { cookie } = await get('/set')
  await get('/set')
  clock.advance({ seconds: 14 * 86_400 })
  const heard = listenIn(t)
  await get('/see', cookie)
  const event = { sessionName: 'session', session: shortOf(cookie) }
  t.same(heard.splice(0), [['expired', event]])
  t.match(
    lines.find((line) => line.includes('past its time')),
    shortOf(cookie)
  )
  await app.sessions.deleteExpired()
  await app.sessions.deleteExpired()
  t.same(heard.splice(0), [
    ['reaped', { sessionName: 'session', deleted: 2 }],
    ['reaped', { sessionName: 'session', deleted: 0 }]
  ])
  await get('/see', cookie)
  t.same(heard, [['rejected', { sessionName: 'session', reason: 'unknown' }]])
})

test('a request that lost its session says why at debug, and never with the value', async (t) => {
  const key = 'the first key, of more than 32 bytes'
  const { get, lines, reasons } = await site(t, { cookie: { signed: [key] } })
  const other = await site(t, { cookie: { signed: ['another key, of more than 32 bytes'] } })
  const heard = listenIn(t)
  const { cookie } = await get('/set')
  const { cookie: foreign } = await other.get('/set')
  const { cookie: alive } = await get('/set')
  const { cookie: aliveToo } = await get('/set')
  await get('/destroy', cookie)
  heard.length = 0
  lines.length = 0
  const cases: [cookie: string, reason: string][] = [
    ['id=garbage', 'malformed'],
    [cookie.replace('.', '-'), 'malformed'],
    [foreign, 'unauthentic'],
    [`${cookie}; ${foreign}`, 'unknown'],
    [`${foreign}; ${foreign}a`, 'ambiguous'],
    [`${alive}; ${aliveToo}`, 'ambiguous'],
    [cookie, 'unknown']
  ]
  for (const [header, reason] of cases) {
    await get('/see', header)
    t.same(heard.splice(0), [['rejected', { sessionName: 'session', reason }]])
    t.match(reasons(), [{ level: 20, reason }])
    const log = lines.splice(0).join('')
    for (const secret of header.split(/[=;. ]+/).filter((part) => part.length > 20)) {
      t.notMatch(log, secret)
    }
    t.notMatch(log, 'garbage')
  }
  await get('/see')
  await get('/see', 'theme=dark; grid=1; valid=2')
  t.same(heard, [], 'whoever brings no session cookie has lost nothing')
  t.same(reasons(), [])
})

test('an encrypted cookie under a lost key is unauthentic', async (t) => {
  const encrypted = (key: string) => ({
    cookie: { encrypted: [`${key}, of more than 32 bytes...`] }
  })
  const { cookie } = await (await site(t, encrypted('the old key'))).get('/set')
  const { get, reasons } = await site(t, encrypted('the new key'))
  await get('/see', cookie)
  await get('/see', `${cookie}x`)
  t.match(reasons(), [{ reason: 'unauthentic' }, { reason: 'malformed' }])
})

test('a store that cannot tell the reason holds up no request', async (t) => {
  class Forgetful extends MemoryStore {
    override read(): Promise<never> {
      throw new Error('read fails')
    }
  }
  const { get, reasons } = await site(t, { store: new Forgetful() })
  const heard = listenIn(t)
  t.equal((await get('/see', `id=${'A'.repeat(43)}`)).status, 200)
  t.match(heard, [['store-error', { operation: 'read a session' }]])
  t.equal(heard.length, 1, 'no reason is made up')
  t.same(reasons(), [])
})

test('nobody pays for reasons that nobody wants to know', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const app = await createApp(t, { db })
  app.get('/', async ({ session }) => String(session.isNew))
  const url = await listen(app)
  const visit = async () => {
    const before = traffic.reads
    await fetch(url, { headers: { cookie: `id=${'A'.repeat(43)}` } })
    return traffic.reads - before
  }
  t.equal(await visit(), 1)
  listenIn(t)
  t.equal(await visit(), 2)
  await app.close()
  await db.close()
})

test('a corrupt record is quarantined, and a store that fails says at what', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const { app, get } = await site(t, { db })
  const { cookie } = await get('/set')
  const { cookie: stranger } = await get('/set')
  const heard = listenIn(t)
  const failure = (operation: string) => [
    'store-error',
    { sessionName: 'session', operation, error: { code: 'SLED_SESSION_STORE_UNAVAILABLE' } }
  ]

  traffic.failing = 'write'
  t.equal((await get('/set', cookie)).status, 503)
  t.match(heard.splice(0), [['loaded'], failure('save a session')])
  t.equal((await get('/destroy', stranger)).status, 503)
  t.match(heard.splice(0), [['loaded'], failure('destroy a session')])
  traffic.failing = 'read'
  t.equal((await get('/see', cookie)).status, 503)
  t.match(heard.splice(0), [failure('load a session')])
  traffic.failing = 'iterator'
  await t.rejects(app.sessions.list('ann'))
  t.match(heard.splice(0), [failure('list sessions')])
  traffic.failing = null

  await putRaw(db.columnFamily('session'), recordKey(handleOf(cookie.slice(3))), Buffer.from('?'))
  t.equal((await get('/see', cookie)).status, 200)
  t.same(heard, [
    ['quarantined', { sessionName: 'session', session: shortOf(cookie) }],
    ['rejected', { sessionName: 'session', reason: 'unknown' }]
  ])
  await app.close()
  await db.close()
})

test('two registrations tell their sessions apart', async (t) => {
  const app = await createApp(t)
  const path = await temporaryFolder(t)
  await app.register(sledSession, { path, sessionName: 'admin', cookie: { name: 'admin' } })
  app.get('/', async (request) => {
    request.session.set('a', 1)
    ;(request as unknown as { admin: typeof request.session }).admin.set('b', 2)
  })
  const heard = listenIn(t)
  await fetch(await listen(app))
  const names = heard.map(([, message]) => (message as { sessionName: string }).sessionName)
  t.same(names.sort(), ['admin', 'session'])
})
