import { Readable } from 'node:stream'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import { type Test, test } from 'tap'
import { recordKey } from '../../lib/store/format/keys.js'
import { until } from '../../scripts/servers/until.js'
import { addCounter, cookieOf, createApp, listen, temporaryFolder } from '../support/app.js'
import { Gate } from '../support/gate.js'
import {
  countKind,
  openApplicationDatabase,
  putRaw,
  readDatabase,
  withDatabase
} from '../support/rocksdb.js'

/** An application on a database that fails when told to. */
async function failingApp(t: Test): Promise<{
  app: FastifyInstance
  url: string
  fail: (what: 'write' | 'read' | 'iterator' | null) => void
  path: string
  lines: string[]
}> {
  const path = await temporaryFolder(t)
  const { db, traffic } = await openApplicationDatabase(path)
  const lines: string[] = []
  const app = await createApp(
    t,
    { db },
    { logger: { level: 'debug', stream: { write: (line) => lines.push(line) } } }
  )
  app.addHook('onClose', () => db.close())
  addCounter(app)
  app.get('/reads', async (request) => request.session.get('counter') ?? 'none')
  app.get('/destroys', async (request) => request.session.destroy())
  app.get('/renews', async (request) => request.session.regenerate())
  app.get('/streams', async (request, reply) => {
    request.session.set('counter', 1000)
    return reply.send(Readable.from(['never', 'seen']))
  })
  const url = await listen(app)
  return {
    app,
    url,
    path,
    lines,
    fail: (what) => {
      traffic.failing = what
    }
  }
}

test('a write that fails is a 503, sets no cookie and changes nothing', async (t) => {
  const { url, fail, app } = await failingApp(t)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const get = (path = '/') => fetch(url + path, { headers: { cookie } })
  t.equal(await (await get()).text(), 'Current count: 1')

  fail('write')
  for (const path of ['/', '/streams']) {
    const response = await get(path)
    t.equal(response.status, 503, path)
    t.match(await response.json(), { code: 'SLED_SESSION_STORE_UNAVAILABLE' }, path)
    t.same(response.headers.getSetCookie(), [], path)
  }
  const stranger = await fetch(url)
  t.equal(stranger.status, 503)
  t.same(stranger.headers.getSetCookie(), [])
  t.equal(await (await get('/reads')).text(), '2', 'reads go on, from what is stored')

  fail(null)
  t.equal(await (await get()).text(), 'Current count: 2')
  t.equal(await app.sessions.count(), 1)
})

test('all requests whose changes were in a failed write get a 503', async (t) => {
  const { url, fail } = await failingApp(t)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const get = () => fetch(url, { headers: { cookie } })
  fail('write')
  const responses = await Promise.all(Array.from({ length: 50 }, get))
  t.same(new Set(responses.map(({ status }) => status)), new Set([503]))
  fail(null)
  t.equal(await (await get()).text(), 'Current count: 1', 'none of them counted')
})

test('a destroy or renewal that fails is a 503, and the session lives on', async (t) => {
  const { url, fail } = await failingApp(t)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const get = (path = '/') => fetch(url + path, { headers: { cookie } })
  for (const path of ['/destroys', '/renews']) {
    fail('write')
    const response = await get(path)
    t.equal(response.status, 503, path)
    t.same(response.headers.getSetCookie(), [], path)
    fail(null)
    t.equal(await (await get('/reads')).text(), '1', path)
  }
})

test('a read that fails is a 503 for those with a cookie, and nobody else notices', async (t) => {
  const path = await temporaryFolder(t)
  const before = await createApp(t, { path })
  addCounter(before)
  const cookie = cookieOf(await fetch(await listen(before))) ?? ''
  await before.close()

  const { db, traffic } = await openApplicationDatabase(path)
  const app = await createApp(t, { db })
  app.addHook('onClose', () => db.close())
  addCounter(app)
  const url = await listen(app)
  traffic.failing = 'read'
  const response = await fetch(url, { headers: { cookie } })
  t.equal(response.status, 503)
  t.same(response.headers.getSetCookie(), [])
  t.equal((await fetch(url)).status, 200)
  traffic.failing = null
  t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'Current count: 1')
})

test('lists and the reaper report a failing store, and work again after it', async (t) => {
  const { app, fail } = await failingApp(t)
  fail('iterator')
  const error = { code: 'SLED_SESSION_STORE_UNAVAILABLE' }
  await t.rejects(app.sessions.count(), error)
  await t.rejects(app.sessions.list('ann'), error)
  await t.rejects(app.sessions.deleteExpired(), error)
  fail(null)
  t.equal(await app.sessions.deleteExpired(), 0)
})

test('an error handler that sets something while the store fails still answers', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const app = await createApp(t, { db })
  app.addHook('onClose', () => db.close())
  app.setErrorHandler(async (error: { statusCode?: number }, request, reply) => {
    request.session.set('lastError', 'noted')
    return reply.code(error.statusCode ?? 500).send({ handled: true })
  })
  addCounter(app)
  const url = await listen(app)
  traffic.failing = 'write'
  const response = await fetch(url)
  t.equal(response.status, 503)
  t.same(response.headers.getSetCookie(), [])
})

test('a corrupt record is put in quarantine, and its visitor gets a fresh session', async (t) => {
  const path = await temporaryFolder(t)
  const before = await createApp(t, { path })
  addCounter(before)
  const cookie = cookieOf(await fetch(await listen(before))) ?? ''
  const handle = (await before.sessions.load(cookie))?.handle ?? ''
  await before.close()

  const damaged = await withDatabase(path, async (db) => {
    const bytes = Buffer.from((await db.get(recordKey(handle))) ?? [])
    bytes[60] = (bytes[60] ?? 0) ^ 1
    await putRaw(db, recordKey(handle), bytes)
    return bytes
  })

  const lines: string[] = []
  const logger = { stream: { write: (line: string) => lines.push(line) } }
  const app = await createApp(t, { path }, { logger })
  addCounter(app)
  const url = await listen(app)
  const response = await fetch(url, { headers: { cookie } })
  t.equal(await response.text(), 'Current count: 0')
  t.not(cookieOf(response), cookie)
  t.equal(lines.filter((line) => line.includes('quarantine')).length, 1)
  t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'Current count: 0')
  t.equal(lines.filter((line) => line.includes('quarantine')).length, 1, 'only once')
  await app.close()

  const kept = (await readDatabase(path)).find(([key]) => key[0] === 4)
  t.same(kept?.[1], damaged, 'its bytes are kept as they were')
  t.equal(countKind(await readDatabase(path), 1), 2, 'the two fresh ones')
})

test('no log line of any fault has a session id or its data', async (t) => {
  const { url, fail, lines, app } = await failingApp(t)
  const cookies: string[] = []
  const visit = async (cookie: string) => {
    const response = await fetch(url, { headers: { cookie } })
    cookies.push(cookieOf(response) ?? '')
    await response.arrayBuffer()
  }
  await visit('')
  const [cookie = ''] = cookies
  for (const what of ['write', 'read', null] as const) {
    fail(what)
    await visit(cookie)
    await visit(`id=${'A'.repeat(43)}`)
    await fetch(`${url}/destroys`, { headers: { cookie } })
  }
  await app.close()
  const log = lines.join('')
  t.match(log, /SLED_SESSION_STORE_UNAVAILABLE/)
  for (const sent of [...cookies, `id=${'A'.repeat(43)}`]) {
    if (sent !== '') t.notOk(log.includes(sent.slice('id='.length)))
  }
  t.notMatch(log, /counter/)
})

test('a renewal behind a write of the old record that fails is left out, both halves', async (t) => {
  const path = await temporaryFolder(t)
  const { db, traffic } = await openApplicationDatabase(path)
  const app = await createApp(t, { db })
  app.addHook('onClose', () => db.close())
  addCounter(app)
  app.get('/reads', async (request) => request.session.get('counter') ?? 'none')
  let renewing = new Gate()
  app.get('/renews', async ({ session }) => {
    const renewed = session.regenerate()
    renewing.open()
    await renewed
  })
  app.get('/logs-in', async ({ session }) => {
    const loggedIn = session.setPrincipal('ann')
    renewing.open()
    await loggedIn
  })
  const cookie = cookieIn(await app.inject('/'))
  const visit = (url: string) =>
    app.inject({ url, headers: { cookie } }).then((response) => response)

  for (const url of ['/renews', '/logs-in']) {
    const disk = new Gate()
    renewing = new Gate()
    traffic.held = { what: 'write', until: disk.opened }
    let failures = 1
    traffic.failing = (what) => what === 'write' && failures-- > 0
    const { writes } = traffic
    const earlier = visit('/')
    await until(() => traffic.writes > writes)
    const renewal = visit(url)
    await renewing.opened
    disk.open()
    for (const response of await Promise.all([earlier, renewal])) {
      t.equal(response.statusCode, 503, url)
      t.equal(response.headers['set-cookie'], undefined, url)
    }
    t.ok(failures <= 0, 'the earlier write was the one that failed')
    traffic.held = null
    traffic.failing = null
    t.equal((await visit('/reads')).body, '1', 'the old session is as it was')
    t.equal(await app.sessions.count(), 1, 'and there is no other')
    t.same(await app.sessions.list('ann'), [])
  }
  await app.close()
  const entries = await readDatabase(path)
  t.same(
    [1, 2, 3].map((kind) => countKind(entries, kind)),
    [1, 1, 0]
  )
})

test('nobody is told of an end that fails: not those beside it, and not who comes meanwhile', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const app = await createApp(t, { db })
  app.addHook('onClose', () => db.close())
  addCounter(app)
  app.get('/reads', async (request) => request.session.get('counter') ?? 'none')
  let [began, ended, disk] = [new Gate(), new Gate(), new Gate()]
  app.get('/ends', async ({ session }) => {
    const ending = session.destroy()
    ended.open()
    await ending
  })
  for (const what of ['sets', 'renews'] as const) {
    app.get(`/${what}`, async ({ session }) => {
      began.open()
      await ended.opened
      if (what === 'sets') session.set('counter', 9)
      else await session.regenerate()
    })
  }
  const cookie = cookieIn(await app.inject('/'))
  const visit = (url: string) =>
    app.inject({ url, headers: { cookie } }).then((response) => response)

  for (const what of ['sets', 'renews']) {
    ;[began, ended, disk] = [new Gate(), new Gate(), new Gate()]
    traffic.failing = 'write'
    traffic.held = { what: 'write', until: disk.opened }
    const beside = visit(`/${what}`)
    await began.opened
    const end = visit('/ends')
    await ended.opened
    const late = visit('/reads')
    disk.open()
    t.equal((await end).statusCode, 503)
    t.equal((await beside).statusCode, 503, what)
    t.equal((await late).body, '1', 'it lives on')
    traffic.failing = null
    traffic.held = null
    t.equal((await visit('/reads')).body, '1')
  }
})

test('a session that is renewed while all are revoked is revoked under its new id', async (t) => {
  const path = await temporaryFolder(t)
  const logins = async (app: FastifyInstance) => {
    app.get('/in', async ({ session }) => session.setPrincipal('ann'))
    app.get('/renews', async ({ session }) => session.regenerate())
    return cookieIn(await app.inject('/in'))
  }
  const before = await createApp(t, { path })
  await logins(before)
  await before.close()
  const { db, traffic } = await openApplicationDatabase(path)
  const app = await createApp(t, { db })
  app.addHook('onClose', () => db.close())
  const cookie = await logins(app)

  // The other session has to be read, and until then this one can be renewed.
  const disk = new Gate()
  traffic.held = { what: 'read', until: disk.opened }
  const { reads } = traffic
  const revoking = app.sessions.revokeAll('ann')
  await until(() => traffic.reads > reads)
  t.equal((await app.inject({ url: '/renews', headers: { cookie } })).statusCode, 200)
  disk.open()
  t.equal(await revoking, 2)
  t.equal(await app.sessions.count(), 0)
})

function cookieIn(response: LightMyRequestResponse): string {
  return String(response.headers['set-cookie'] ?? '').split(';')[0] ?? ''
}
