import { Registry } from 'prom-client'
import { type Test, test } from 'tap'
import { MemoryStore, type SledSessionOptions, sledSession } from '../../lib/index.js'
import { type SessionMetricsOptions, sessionMetrics } from '../../lib/prometheus.js'
import { cookieOf, createApp, listen, TestClock, temporaryFolder } from '../support/app.js'
import { openApplicationDatabase } from '../support/rocksdb.js'

/** An application that serves its metrics on /metrics. */
async function measured(
  t: Test,
  options: SledSessionOptions = {},
  metrics: SessionMetricsOptions = {}
) {
  const app = await createApp(t, options)
  const registry = metrics.registry ?? new Registry()
  await app.register(sessionMetrics, { registry, ...metrics })
  app.get('/metrics', { config: { session: false } }, async (_request, reply) =>
    reply.type(registry.contentType).send(await registry.metrics())
  )
  let changes = 0
  app.get('/set', async ({ session }) => session.set('a', ++changes))
  app.get('/login', async ({ session }) => session.setPrincipal('ann'))
  app.get('/destroy', async ({ session }) => session.destroy())
  const url = await listen(app)
  const get = (path: string, cookie = '') => fetch(url + path, { headers: { cookie } })
  const scrape = async () => {
    const text = await (await get('/metrics')).text()
    const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    return Object.fromEntries(samples.map((line) => line.split(/ (?=\S+$)/)))
  }
  return { app, get, scrape, registry }
}

test('what happens to sessions is counted, and what is stored is read at each scrape', async (t) => {
  const clock = new TestClock()
  const { app, get, scrape } = await measured(t, { now: clock.now })
  t.equal((await scrape())['sled_session_events_total{event="created"}'], '0')
  const cookie = cookieOf(await get('/set')) ?? ''
  const ann = cookieOf(await get('/login', cookie)) ?? ''
  await get('/set', ann)
  await get('/set', cookie)
  await get('/set', 'id=garbage')
  await app.sessions.revokeAll('ann')
  await get('/destroy', cookieOf(await get('/set')))
  t.match(await scrape(), {
    'sled_session_events_total{event="created"}': '4',
    'sled_session_events_total{event="loaded"}': '3',
    'sled_session_events_total{event="saved"}': '1',
    'sled_session_events_total{event="regenerated"}': '1',
    'sled_session_events_total{event="revoked"}': '1',
    'sled_session_events_total{event="destroyed"}': '1',
    'sled_session_rejected_total{reason="unknown"}': '1',
    'sled_session_rejected_total{reason="malformed"}': '1',
    sled_session_stored: '2',
    sled_session_cache_records: '2',
    sled_session_reaped_total: '0',
    sled_session_quarantined_total: '0',
    sled_session_writes_total: /^[1-9]/,
    sled_session_write_groups_total: /^[1-9]/,
    sled_session_disk_bytes: /^[1-9]/
  })
  clock.advance({ seconds: 15 * 86_400 })
  await app.sessions.deleteExpired()
  t.match(await scrape(), { sled_session_reaped_total: '2' })
})

test('a store that fails is counted, and the scrape goes on without it', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  const { app, get, scrape } = await measured(t, { db })
  const cookie = cookieOf(await get('/set'))
  traffic.failing = 'write'
  t.equal((await get('/set', cookie)).status, 503)
  app.sessions.stats = () => Promise.reject(new Error('down'))
  const samples = await scrape()
  t.match(samples, {
    'sled_session_events_total{event="created"}': '1',
    'sled_session_store_errors_total{operation="save a session"}': '1'
  })
  t.equal(samples.sled_session_stored, undefined)
  await app.close()
  await db.close()
})

test('a store that cannot tell a number has no sample of it', async (t) => {
  const { get, scrape } = await measured(t, { store: new MemoryStore() })
  await get('/set')
  const samples = await scrape()
  t.equal(samples.sled_session_stored, '1')
  t.notOk('sled_session_disk_bytes' in samples)
  t.notOk('sled_session_cache_hits_total' in samples)
})

test('each registration has its own metrics, and they go when the server closes', async (t) => {
  const registry = new Registry()
  const app = await createApp(t)
  const path = await temporaryFolder(t)
  await app.register(sledSession, { path, sessionName: 'admin', cookie: { name: 'admin' } })
  await app.register(sessionMetrics, { registry })
  await app.register(sessionMetrics, { registry, sessionName: 'admin', prefix: 'admin_' })
  app.get('/', async ({ session }) => session.set('a', 1))
  await app.inject('/')
  const text = await registry.metrics()
  t.match(text, 'sled_session_events_total{event="created"} 1')
  t.match(text, 'admin_events_total{event="created"} 0')
  await app.close()
  t.same(registry.getMetricsAsArray(), [])
})

test('options that cannot work are refused by name', async (t) => {
  const wrong: [object, RegExp][] = [
    [{ sessionName: 'admin' }, /"sessionName" "admin" is not registered/],
    [{ sessionName: 5 }, /"sessionName" must be a string/],
    [{ register: new Registry() }, /"register" is not known: use registry, sessionName, prefix/],
    [{ registry: {} }, /"registry" must be a Registry of prom-client/],
    [{ registry: null }, /"registry" must be a Registry of prom-client/],
    [{ prefix: 'sled-session-' }, /"prefix" must be a name as Prometheus has them/],
    [{ prefix: 5 }, /"prefix" must be a name as Prometheus has them/]
  ]
  for (const [options, message] of wrong) {
    const app = await createApp(t)
    const registering = async () => {
      await app.register(sessionMetrics, options as SessionMetricsOptions)
    }
    await t.rejects(registering(), { code: 'SLED_SESSION_INVALID_OPTION', message })
  }
  const app = await createApp(t)
  await t.resolves(async () => {
    await app.register(sessionMetrics, { registry: new Registry(), prefix: '', logLevel: 'warn' })
  })
})
