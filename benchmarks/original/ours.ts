import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import Fastify from 'fastify'
import type * as Package from '../../lib/index.js'
import { PROFILE } from '../session-data.js'

/**
 * Our side, with the options of the original's example: ten seconds of inactivity, which only a
 * change moves, and a cookie without Secure.
 *
 *     node --import tsx ours.ts FOLDER EXPIRY_SECONDS
 */
const [folder = '', expirySeconds = '10'] = process.argv.slice(2)
/** As in the original's server: long enough for a logout to come in between. */
const SLOW_MS = 300

const { sledSession, onInactivity } = (await import(
  '../../dist/index.js' as string
)) as typeof Package

const begun = performance.now()
const app = Fastify()
await app.register(sledSession, {
  path: folder,
  secure: false,
  expiry: onInactivity({ seconds: Number(expirySeconds) }),
  rolling: false,
  reapInterval: false
})

app.get('/read', async ({ session }) => `Current count: ${session.get('counter') ?? 0}`)
app.get('/counter', async ({ session }) => {
  const counter = session.get<number>('counter') ?? 0
  session.set('counter', counter + 1)
  return `Current count: ${counter}`
})
app.get('/slow', async ({ session }) => {
  const counter = session.get<number>('counter') ?? 0
  await wait(SLOW_MS)
  session.set('counter', counter + 1)
  return `Current count: ${counter}`
})
app.get('/untouched', { config: { session: false } }, async () => 'Current count: 0')
app.get('/create', async ({ session }) => {
  session.set('profile', PROFILE)
  return 'Current count: 0'
})
app.get('/destroy', async ({ session }) => {
  await session.destroy()
  return 'Current count: 0'
})
app.get('/reap', { config: { session: false } }, async () => {
  const start = performance.now()
  await app.sessions.deleteExpired()
  return (performance.now() - start).toFixed(3)
})

await app.listen({ host: '127.0.0.1', port: 0 })
const { port } = app.server.address() as AddressInfo
console.log(JSON.stringify({ port, startMs: performance.now() - begun }))
