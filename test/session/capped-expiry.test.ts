import { test } from 'tap'
import { atDateTime, onInactivity } from '../../lib/index.js'
import { createApp, TestClock } from '../support/app.js'

test('an expiry beyond the absolute timeout is capped, and the log says so once', async (t) => {
  const lines: string[] = []
  const logger = { level: 'warn', stream: { write: (line: string) => void lines.push(line) } }
  const clock = new TestClock()
  const app = await createApp(t, { now: clock.now, absoluteTimeout: { hours: 12 } }, { logger })
  app.get('/within', async ({ session }) => {
    session.expiry = onInactivity({ hours: 12 })
  })
  app.get('/beyond', async ({ session }) => {
    session.expiry = onInactivity({ days: 30 })
    session.expiry = atDateTime(new Date(clock.time + 30 * 86_400_000))
    return session.expiresAt
  })
  await app.inject('/within')
  t.same(lines, [])
  const twelveHours = new Date(clock.time + 12 * 3_600_000).toISOString()
  t.equal((await app.inject('/beyond')).json(), twelveHours)
  await app.inject('/beyond')
  t.equal(lines.length, 1)
  t.match(JSON.parse(lines[0] ?? ''), { msg: /beyond absoluteTimeout/ })
})
