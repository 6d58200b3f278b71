import { monitorEventLoopDelay } from 'node:perf_hooks'
import Fastify from 'fastify'
import { onInactivity, sledSession } from '../dist/index.js'

/**
 * A fresh process that serves the sessions in STORAGE, on the built package: a compiler on its way
 * would count as its memory. It tells how long opening took, and on "watch" and "reap" how late its
 * event loop was meanwhile.
 */
const path = process.env.STORAGE ?? ''
const now = Number(process.env.NOW)
const RESOLUTION_MS = 1
const IDLE_MS = 4000

const app = Fastify()
const start = performance.now()
await app.register(sledSession, {
  path,
  now: () => now,
  expiry: onInactivity({ days: 30 }),
  reapInterval: false
})
const openMilliseconds = performance.now() - start
app.get('/', async ({ session }) => {
  const counter = Number(session.get('counter') ?? 0)
  session.set('counter', counter + 1)
  return `Current count: ${counter}`
})
await app.listen({ host: '127.0.0.1', port: 0 })

const WORK = {
  watch: () => new Promise((resolve) => setTimeout(resolve, IDLE_MS)),
  reap: () => app.sessions.deleteExpired()
}

process.on('message', async (name) => {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  const began = performance.now()
  delay.enable()
  const result = await WORK[name]?.()
  delay.disable()
  // The histogram has the time between two timers, of which the timer's own is no delay.
  const late = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS)
  process.send?.({
    result,
    milliseconds: performance.now() - began,
    p50: late(delay.percentile(50)),
    p99: late(delay.percentile(99)),
    most: late(delay.max),
    rss: process.memoryUsage.rss()
  })
})
process.on('disconnect', () => process.exit())
process.send?.({ port: app.server.address().port, openMilliseconds })
