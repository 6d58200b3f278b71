import { monitorEventLoopDelay } from 'node:perf_hooks'
import { type Test, test } from 'tap'
import { openSessionStore, SessionRecord } from '../../lib/index.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import { createApp, temporaryFolder } from '../support/app.js'

const MILLISECONDS = 1e6

/** An application with many sessions of ann's on disk, and one of bob's. */
async function crowd(t: Test, many: number, bytes: number) {
  const path = await temporaryFolder(t)
  const store = await openSessionStore(path, { durability: 'process' })
  const now = Date.now()
  const make = (principal: string): SessionRecord => {
    const record = new SessionRecord(handleOf(createSessionId()), now, now, now + 3_600_000)
    record.principal = principal
    record.apply('data', JSON.stringify('x'.repeat(bytes)))
    return record
  }
  for (let put = 0; put < many; ) {
    const records = Array.from({ length: Math.min(100, many - put) }, () => make('ann'))
    await store.putRecords(records)
    put += records.length
  }
  await store.putRecords([make('bob')])
  await store.close()
  return createApp(t, { path, durability: 'process' })
}

for (const [many, bytes] of [
  [70_000, 10],
  [3_000, 60_000]
] as const) {
  test(`${many} sessions of ${bytes} bytes are listed and ended in bounded memory`, {
    timeout: 280_000
  }, async (t) => {
    const app = await crowd(t, many, bytes)
    const before = process.memoryUsage().rss
    const delay = monitorEventLoopDelay({ resolution: 5 })
    delay.enable()
    t.equal((await app.sessions.list('ann')).length, many)
    t.equal(await app.sessions.revokeAll('ann'), many)
    delay.disable()
    t.equal(await app.sessions.count('ann'), 0)
    t.equal(await app.sessions.count('bob'), 1)
    const grown = (process.memoryUsage().rss - before) / 2 ** 20
    t.ok(grown < 400, `memory grew by ${Math.round(grown)} MiB`)
    const p99 = delay.percentile(99) / MILLISECONDS
    t.comment(`p99 of the event loop: ${p99.toFixed(1)} ms`)
    t.ok(p99 < 50, `p99 of the event loop is ${p99.toFixed(1)} ms`)
  })
}
