import { once } from 'node:events'
import { type Test, test } from 'tap'
import WebSocket from 'ws'
import { startRedis } from '../../scripts/servers/redis.js'
import { cookieOf, temporaryFolder } from '../support/app.js'
import { startChild } from '../support/child.js'
import { needs } from '../support/needs.js'

/** An example as a process, and a visitor with a cookie. */
async function start(t: Test, script: string, env: NodeJS.ProcessEnv = {}) {
  const child = startChild(t, script, { STORAGE: await temporaryFolder(t), PORT: '0', ...env })
  const [url] = await child.line(/http:\/\/127\.0\.0\.1:\d+/)
  let cookie = ''
  const ask = async (path: string, init: RequestInit = {}) => {
    const headers = { cookie, connection: 'close', ...init.headers }
    const response = await fetch(url + path, { ...init, headers })
    cookie = cookieOf(response) ?? cookie
    return response
  }
  return { child, url, ask, cookie: () => cookie }
}

test('typed data: items added at once are all in the order', async (t) => {
  const { child, ask } = await start(t, 'examples/typed-data.ts')
  const add = (body: object) =>
    ask('/order', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body)
    })
  t.equal((await add({ article: 'tea', amount: 2 })).status, 200)
  await Promise.all([1, 2, 3].map((amount) => add({ article: 'cup', amount })))
  t.equal((await add({ article: 'tea', amount: 0 })).status, 400)
  const order = (await (await ask('/order')).json()) as { items: object[]; changed: number }
  t.equal(order.items.length, 4)
  t.equal(order.changed, new Date().getFullYear())
  t.equal(await child.stop('SIGTERM'), 0)
})

test('shared database: notes and sessions side by side, also after a restart', async (t) => {
  const STORAGE = await temporaryFolder(t)
  const { child, ask, cookie } = await start(t, 'examples/shared-database.ts', { STORAGE })
  t.equal((await ask('/note')).status, 404)
  const headers = { 'content-type': 'text/plain' }
  await ask('/note', { method: 'PUT', headers, body: 'buy milk' })
  t.equal(await (await ask('/note')).text(), 'buy milk')
  t.equal(await child.stop('SIGTERM'), 0)
  const again = await start(t, 'examples/shared-database.ts', { STORAGE })
  const response = await again.ask('/note', { headers: { cookie: cookie() } })
  t.equal(await response.text(), 'buy milk')
  t.equal((await again.ask('/note', { headers: { cookie: '' } })).status, 404)
})

test('Redis: two servers share their sessions', needs('redis-server'), async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const one = await start(t, 'examples/redis.ts', { REDIS: redis.url })
  const two = await start(t, 'examples/redis.ts', { REDIS: redis.url })
  t.equal(await (await one.ask('/')).text(), 'You have been here 1 times.')
  const headers = { cookie: one.cookie() }
  await Promise.all([one, two, one, two].map(({ ask }) => ask('/', { headers })))
  t.equal(await (await two.ask('/', { headers })).text(), 'You have been here 6 times.')
  t.equal(await one.child.stop('SIGTERM'), 0)
})

test('WebSocket: whoever has entered may chat, from pages of this site', async (t) => {
  const { url, ask, cookie } = await start(t, 'examples/websocket.ts')
  const connect = (headers: Record<string, string>) =>
    new WebSocket(`${url?.replace('http', 'ws')}/chat`, { headers })
  const refused = async (headers: Record<string, string>) => {
    const [, response] = await once(connect(headers), 'unexpected-response')
    return response.statusCode
  }
  t.equal(await refused({}), 401)
  await ask('/enter/ann')
  t.equal(await refused({ cookie: cookie(), origin: 'http://evil.example' }), 403)
  t.equal(await refused({ cookie: cookie(), origin: 'null' }), 403)

  const socket = connect({ cookie: cookie(), origin: url ?? '' })
  await once(socket, 'open')
  socket.send('hello')
  t.equal(String((await once(socket, 'message'))[0]), 'ann (1): hello')
  socket.send('still here')
  t.equal(String((await once(socket, 'message'))[0]), 'ann (2): still here')
  socket.terminate()
})

test('OpenTelemetry: what happens to a session is in the span of its request', async (t) => {
  const { child, ask } = await start(t, 'examples/opentelemetry.ts')
  await ask('/')
  await child.line(/session\.created/)
  await ask('/', { headers: { cookie: 'id=garbage' } })
  await child.line(/session\.rejected/)
  await child.line(/'?session\.reason'?: 'malformed'/)
  await ask('/')
  await child.line(/session\.loaded/)
  await child.line(/session\.saved/)
  t.equal(await child.stop('SIGTERM'), 0)
})
