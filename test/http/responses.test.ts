import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { test } from 'tap'
import { until } from '../../scripts/servers/until.js'
import { addCounter, cookieOf, createApp, listen } from '../support/app.js'

test('the session is saved before a stream begins', async (t) => {
  const app = await createApp(t)
  app.get('/', async (request, reply) => {
    request.session.set('counter', 7)
    return reply.type('text/plain').send(Readable.from(['one ', 'two']))
  })
  app.get('/reads', async (request) => request.session.get('counter'))
  const url = await listen(app)

  const response = await fetch(url)
  const cookie = cookieOf(response)
  t.ok(cookie)
  t.equal(await response.text(), 'one two')
  t.equal(await (await fetch(`${url}/reads`, { headers: { cookie: `${cookie}` } })).text(), '7')
})

test('web streams and Response objects carry the cookie as well', async (t) => {
  const app = await createApp(t)
  app.get('/stream', async (request, reply) => {
    request.session.set('counter', 1)
    return reply.send(new Blob(['body']).stream())
  })
  app.get('/response', async (request) => {
    request.session.set('counter', 1)
    return new Response('body', { status: 201 })
  })
  const url = await listen(app)
  for (const [path, status] of [
    ['/stream', 200],
    ['/response', 201]
  ] as const) {
    const response = await fetch(url + path)
    t.equal(response.status, status)
    t.equal(await response.text(), 'body')
    t.ok(cookieOf(response), path)
  }
})

test('errors, 4xx, redirects and HEAD save and set the cookie', async (t) => {
  const app = await createApp(t)
  app.get('/throws', async (request) => {
    request.session.set('counter', 5)
    throw new Error('the handler failed')
  })
  app.get('/teapot', async (request, reply) => {
    request.session.set('counter', 5)
    return reply.code(418).send('no coffee')
  })
  app.get('/redirects', async (request, reply) => {
    request.session.set('counter', 5)
    return reply.redirect('/reads')
  })
  app.get('/empty', async (request, reply) => {
    request.session.set('counter', 5)
    return reply.code(204).send()
  })
  app.get('/reads', async (request) => request.session.get('counter') ?? 'nothing')
  app.setNotFoundHandler(async (request, reply) => {
    request.session.set('counter', 5)
    return reply.code(404).send('nothing here')
  })
  const url = await listen(app)

  for (const [method, path, status] of [
    ['GET', '/throws', 500],
    ['GET', '/teapot', 418],
    ['GET', '/redirects', 302],
    ['GET', '/empty', 204],
    ['HEAD', '/teapot', 418],
    ['GET', '/nowhere', 404]
  ] as const) {
    const response = await fetch(url + path, { method, redirect: 'manual' })
    await response.arrayBuffer()
    t.equal(response.status, status, `${method} ${path}`)
    const cookie = cookieOf(response) ?? ''
    t.equal(response.headers.getSetCookie().length, 1, `${method} ${path}`)
    t.equal(await (await fetch(`${url}/reads`, { headers: { cookie } })).text(), '5')
  }
})

test('the session is at hand in error handlers and later hooks', async (t) => {
  const app = await createApp(t)
  app.addHook('preHandler', async (request) => {
    request.session.set('seen', true)
  })
  app.setErrorHandler(async (_error, request, reply) => {
    request.session.set('counter', 1)
    return reply.code(500).send({ seen: request.session.get('seen') })
  })
  app.get('/', async () => {
    throw new Error('the handler failed')
  })
  const response = await fetch(await listen(app))
  t.same(await response.json(), { seen: true })
  t.ok(cookieOf(response))
})

test('a reply that is sent early in a hook is saved as well', async (t) => {
  const app = await createApp(t)
  app.addHook('preHandler', async (request, reply) => {
    request.session.set('counter', 3)
    return reply.code(401).send('please log in')
  })
  addCounter(app)
  const response = await fetch(await listen(app))
  t.equal(response.status, 401)
  t.ok(cookieOf(response))
  t.equal(await app.sessions.count(), 1)
})

test('after reply.hijack() a session that was set is saved by save()', async (t) => {
  const app = await createApp(t)
  app.get('/', (request, reply) => {
    reply.hijack()
    request.session.set('counter', 9)
    const { id } = request.session
    request.session.save().then(() => {
      reply.raw.writeHead(200, { 'set-cookie': `id=${id}` })
      reply.raw.end('raw')
    })
  })
  app.get('/reads', async (request) => request.session.get('counter'))
  const url = await listen(app)
  const response = await fetch(url)
  t.equal(await response.text(), 'raw')
  const cookie = cookieOf(response) ?? ''
  t.equal(await (await fetch(`${url}/reads`, { headers: { cookie } })).text(), '9')
})

test('a hijacked request of a known visitor is saved when it ends', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  app.get('/raw', (request, reply) => {
    reply.hijack()
    request.session.set('counter', 40)
    reply.raw.end('raw')
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  t.equal(await (await fetch(`${url}/raw`, { headers: { cookie } })).text(), 'raw')
  await until(async () => {
    const text = await (await fetch(url, { headers: { cookie } })).text()
    return text.startsWith('Current count: 4')
  })
  t.equal(await app.sessions.count(), 1)
})

test('what is set after reply.send() of a known visitor is not lost', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  app.get('/late', (request, reply) => {
    reply.send('sent')
    setImmediate(() => request.session.set('late', 'kept'))
  })
  app.get('/reads', async (request) => request.session.get('late') ?? 'nothing yet')
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  await (await fetch(`${url}/late`, { headers: { cookie } })).text()
  const handle = (await app.sessions.load(cookie))?.handle ?? ''
  await until(async () => (await app.sessions.get(handle))?.get('late') === 'kept')
  t.equal(await (await fetch(`${url}/reads`, { headers: { cookie } })).text(), 'kept')
})

test('a new session that is begun after its response left is dropped with a warning', async (t) => {
  const lines: string[] = []
  const app = await createApp(t, {}, { logger: { stream: { write: (line) => lines.push(line) } } })
  app.get('/', (request, reply) => {
    reply.hijack()
    reply.raw.end('sent', () => setImmediate(() => request.session.set('counter', 1)))
  })
  await (await fetch(await listen(app))).text()
  await until(() => lines.some((line) => line.includes('a new session was dropped')))
  t.equal(await app.sessions.count(), 0)
})

test('a client that goes away loses no change that its handler makes', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  let arrived = (): void => {}
  let closed = (): void => {}
  const running = new Promise<void>((resolve) => {
    arrived = resolve
  })
  const aborted = new Promise<void>((resolve) => {
    closed = resolve
  })
  app.get('/slow', async (request, reply) => {
    arrived()
    reply.raw.once('close', closed)
    await aborted
    request.session.set('counter', 70)
    return 'nobody hears this'
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const client = httpRequest(`${url}/slow`, { headers: { cookie } })
  client.on('error', () => {})
  client.end()
  await running
  client.destroy()
  const handle = (await app.sessions.load(cookie))?.handle ?? ''
  await until(async () => (await app.sessions.get(handle))?.get('counter') === 70)
  t.pass('the change is stored')
})

test('a client that goes away before the handler runs leaves nothing behind', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  const { port } = new URL(await listen(app))
  const socket = connect(Number(port), '127.0.0.1')
  await once(socket, 'connect')
  socket.resume().end('GET / HTTP/1.1\r\nHost: x\r\n')
  await once(socket, 'close')
  t.equal(await app.sessions.count(), 0)
})

test('other Set-Cookie and Cache-Control headers of the application survive', async (t) => {
  const app = await createApp(t)
  app.get('/', async (request, reply) => {
    reply.header('set-cookie', ['a=1', 'b=2'])
    reply.setCookie('c', '3')
    reply.header('cache-control', 'private, max-age=0')
    request.session.set('counter', 1)
    return 'hello'
  })
  const response = await fetch(await listen(app))
  const names = response.headers.getSetCookie().map((cookie) => cookie.split('=')[0])
  t.same(names.sort(), ['a', 'b', 'c', 'id'])
  t.equal(response.headers.get('cache-control'), 'private, max-age=0')
})

test('noStore: false leaves Cache-Control alone', async (t) => {
  const app = await createApp(t, { noStore: false })
  addCounter(app)
  t.notOk((await fetch(await listen(app))).headers.has('cache-control'))
})
