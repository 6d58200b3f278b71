import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import v8 from 'node:v8'
import { test } from 'tap'
import { createSessionId } from '../../lib/record/handle.js'
import { LiveRecord } from '../../lib/store/rocksdb/live-record.js'
import { until } from '../../scripts/servers/until.js'
import { cookieOf, createApp, listen, temporaryFolder } from '../support/app.js'

const SECRET = 'datum-8d1f'

test('a long run leaves no id on disk, and neither id nor data in the log', async (t) => {
  const path = await temporaryFolder(t)
  const lines: string[] = []
  const logger = { level: 'trace', stream: { write: (line: string) => lines.push(line) } }
  const app = await createApp(t, { path }, { logger })
  const ids = new Set<string>()
  app.get('/:what', async ({ session, params, log }) => {
    const { what } = params as { what: string }
    log.info({ session }, 'at work')
    if (what === 'set') session.set('secret', { SECRET })
    if (what === 'renew') await session.regenerate()
    if (what === 'login') await session.setPrincipal('ann', { metadata: SECRET })
    if (what === 'destroy') await session.destroy()
    if (what === 'fail') session.set('secret', { SECRET, fn() {} })
    if (what === 'large') session.set('secret', SECRET.repeat(10_000))
    if (what === 'revoke') await app.sessions.revokeAll('ann')
    if (what === 'throw') throw new Error('the handler failed')
    return 'done'
  })
  await app.ready()
  const steps = ['set', 'renew', 'login', 'fail', 'large', 'throw', 'set', 'revoke', 'destroy']
  for (let round = 0; round < 5; round++) {
    let cookie = `id=${createSessionId()}`
    for (const what of steps) {
      ids.add(cookie.slice('id='.length))
      const { cookies } = await app.inject({ url: `/${what}`, headers: { cookie } })
      if (cookies[0]?.value) cookie = `id=${cookies[0].value}`
    }
  }
  await app.close()
  t.ok(ids.size > 15)
  const log = lines.join('')
  t.match(log, /at work/)
  t.notOk(log.includes(SECRET))
  t.same(
    [...ids].filter((id) => log.includes(id)),
    []
  )
  for (const name of await readdir(path)) {
    const bytes = await readFile(join(path, name))
    const found = [...ids].filter(
      (id) => bytes.includes(id) || bytes.includes(Buffer.from(id, 'base64url'))
    )
    t.same(found, [], name)
  }
})

test('cookies that nobody was given do not grow memory', async (t) => {
  const app = await createApp(t)
  app.get('/', async ({ session }) => session.isNew)
  await app.ready()
  const before = v8.queryObjects(LiveRecord, { format: 'count' })
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 100 }, () =>
        app.inject({ url: '/', headers: { cookie: `id=${createSessionId()}` } })
      )
    )
  }
  t.equal(v8.queryObjects(LiveRecord, { format: 'count' }), before)
  const { cache } = await app.sessions.stats()
  t.match(cache, { records: 0 })
})

test('a stream that fails midway has its session saved', async (t) => {
  const app = await createApp(t)
  app.get('/', async ({ session }, reply) => {
    session.set('counter', 7)
    const body = async function* () {
      yield 'first'
      await new Promise((resolve) => setImmediate(resolve))
      throw new Error('the stream failed')
    }
    return reply.send(Readable.from(body()))
  })
  const response = await fetch(await listen(app))
  const cookie = cookieOf(response)
  await t.rejects(response.text())
  t.equal((await app.sessions.load(cookie))?.get('counter'), 7)
})

test('a known visitor whose answer is written past Fastify is saved', async (t) => {
  const app = await createApp(t)
  app.get('/set', async ({ session }) => session.set('counter', 1))
  app.get('/raw', (request, reply) => {
    request.session.set('counter', 2)
    reply.raw.end('raw')
    t.ok(reply.sent)
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(`${url}/set`)) ?? ''
  t.equal(await (await fetch(`${url}/raw`, { headers: { cookie } })).text(), 'raw')
  await until(async () => (await app.sessions.load(cookie))?.get('counter') === 2)
})
