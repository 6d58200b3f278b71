import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { LmdbStore } from '../../../lib/lmdb.js'
import { cookieOf, createApp, listen } from '../../support/app.js'
import { startChild } from '../../support/child.js'
import { temporaryFolder } from '../../support/lmdb.js'

/** LMDB begins with a map of 128 KiB. */
const TEXT = 'x'.repeat(60_000)
const SESSIONS = 200

test('the map grows in one process while another reads and writes', async (t) => {
  const path = await temporaryFolder(t)
  const child = startChild(t, 'test/fixtures/lmdb-server.ts', { STORAGE: path })
  const [, other = ''] = await child.line(/listening on (.*)/)
  const app = await createApp(t, { store: new LmdbStore({ path }) })
  app.get('/', async ({ session }) => {
    session.set('counter', 1)
    session.set('text' as 'counter', TEXT as never)
  })
  const url = await listen(app)
  const visitor = cookieOf(await fetch(other)) ?? ''
  const counters: number[] = []
  const visit = async (): Promise<void> => {
    const response = await fetch(other, { headers: { cookie: visitor } })
    counters.push(((await response.json()) as { counter: number }).counter)
  }
  const cookies: string[] = []
  while (cookies.length < SESSIONS) {
    const [answers] = await Promise.all([
      Promise.all(Array.from({ length: 10 }, () => fetch(url))),
      visit()
    ])
    cookies.push(...answers.map((answer) => cookieOf(answer) ?? ''))
  }
  t.same(
    counters,
    counters.map((_, at) => at + 2)
  )
  for (const cookie of cookies) {
    const response = await fetch(other, { headers: { cookie } })
    t.same(await response.json(), { counter: 2 }, 'the other process has what came last')
  }
  const { size } = await stat(join(path, 'data.mdb'))
  t.ok(size > SESSIONS * TEXT.length)
  t.equal(await child.stop('SIGTERM'), 0)
})
