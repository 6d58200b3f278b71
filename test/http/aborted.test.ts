import { connect, type Socket } from 'node:net'
import v8 from 'node:v8'
import type { FastifyInstance } from 'fastify'
import Fastify from 'fastify'
import { type Test, test } from 'tap'
import { sledSession } from '../../lib/index.js'
import { LiveRecord } from '../../lib/store/rocksdb/live-record.js'
import { until } from '../../scripts/servers/until.js'
import { addCounter, cookieOf, createApp, listen, temporaryFolder } from '../support/app.js'
import { Gate } from '../support/gate.js'

/** Sends a request over a connection of its own, which the test then cuts. */
function send(url: string, path: string, cookie: string): Socket {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.on('error', () => {}).resume()
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nCookie: ${cookie}\r\n\r\n`)
  return socket
}

/** An application whose requests to /exclusive/held wait in a hook until the test lets them go. */
async function heldApp(t: Test) {
  const app = await createApp(t)
  addCounter(app)
  const held = { arrived: 0, gone: 0, handled: 0, release: new Gate() }
  app.addHook('preValidation', async (request, reply) => {
    if (!request.url.endsWith('/held')) return
    reply.raw.once('close', () => held.gone++)
    held.arrived++
    await held.release.opened
  })
  const config = { session: { exclusive: { maxWait: 5000 } } }
  app.get('/exclusive/:how', { config }, async ({ session }) => {
    held.handled++
    session.set('counter', (session.get('counter') ?? 0) + 1)
    return 'done'
  })
  const url = await listen(app)
  return { app, url, held }
}

test('a client that went away before its turn came leaves an exclusive route free', async (t) => {
  const { url, held } = await heldApp(t)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const socket = send(url, '/exclusive/held', cookie)
  await until(() => held.arrived === 1)
  socket.destroy()
  await until(() => held.gone === 1)
  held.release.open()
  const response = await fetch(`${url}/exclusive/now`, { headers: { cookie } })
  t.equal(response.status, 200)
})

test('a client that goes away before its session is loaded leaves nothing held', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let [arrived, gone] = [0, 0]
  app.addHook('onRequest', async (request, reply) => {
    if (request.url !== '/slow') return
    arrived++
    await new Promise((resolve) => reply.raw.once('close', resolve))
    gone++
  })
  await app.register(sledSession, {
    path: await temporaryFolder(t),
    secure: false,
    memory: 1024 * 1024
  })
  fill(app)
  app.get('/slow', async (request) => request.session.size)
  const url = await listen(app)
  const cookies = await Promise.all(
    Array.from({ length: 20 }, async () => cookieOf(await fetch(`${url}/fill`)) ?? '')
  )
  for (const [index, cookie] of cookies.entries()) {
    const socket = send(url, '/slow', cookie)
    await until(() => arrived > index)
    socket.destroy()
    await until(() => gone > index)
  }
  // What nobody holds is evicted: the cache has 768 KiB, a record takes 60 KB of it.
  await until(async () => {
    await fetch(`${url}/fill`)
    return v8.queryObjects(LiveRecord, { format: 'count' }) <= 14
  })
  t.pass('the records are let go')
  await app.close()
})

function fill(app: FastifyInstance): void {
  app.get('/fill', async (request) => request.session.set('filler', 'x'.repeat(60_000)))
}

test('aborts at any moment of keep-alive connections lose nothing and hold nothing', async (t) => {
  const { app, url } = await heldApp(t)
  const cookie = cookieOf(await fetch(url)) ?? ''
  for (let round = 0; round < 60; round++) {
    const socket = send(url, '/exclusive/now', cookie)
    for (let more = 0; more < round % 4; more++) {
      socket.write(`GET /exclusive/now HTTP/1.1\r\nHost: x\r\nCookie: ${cookie}\r\n\r\n`)
    }
    await new Promise((resolve) => socket.once('connect', resolve))
    for (let turn = 0; turn < round % 7; turn++) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    socket.destroy()
  }
  const response = await fetch(`${url}/exclusive/now`, { headers: { cookie } })
  t.equal(response.status, 200, 'the route is free')
  const session = await app.sessions.load(cookie)
  await session?.save()
  const live = session?.get('counter')
  await session?.reload()
  t.equal(session?.get('counter'), live, 'what memory has is on disk')
})
