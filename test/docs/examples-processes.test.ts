import { type Test, test } from 'tap'
import { cookieOf, temporaryFolder } from '../support/app.js'
import { startChild } from '../support/child.js'

interface Answer {
  readonly counter: number
  readonly worker?: number
  readonly thread?: number
}

/** Counts at many addresses at once, as one visitor, until so many processes or threads have answered. */
async function countAt(t: Test, urls: string[], expected: number): Promise<void> {
  const ask = async (at: number, cookie: string): Promise<Response> =>
    // A connection of its own each, so that all have their share.
    fetch(urls[at % urls.length] as string, { headers: { cookie, connection: 'close' } })
  const first = await ask(0, '')
  const cookie = cookieOf(first) ?? ''
  const rounds = 40
  const answers = await Promise.all(
    Array.from(
      { length: rounds },
      async (_, at) => (await (await ask(at, cookie)).json()) as Answer
    )
  )
  const counters = answers.map(({ counter }) => counter).sort((a, b) => a - b)
  t.same(
    counters,
    Array.from({ length: rounds }, (_, at) => at + 2),
    'no update is lost'
  )
  const servers = new Set(answers.map(({ worker, thread }) => worker ?? thread))
  t.equal(servers.size, expected, 'all of them have answered')
}

test('cluster: four workers share a port and all sessions', async (t) => {
  const env = { STORAGE: await temporaryFolder(t), PORT: '0' }
  const child = startChild(t, 'examples/cluster.ts', env)
  const [url] = await child.line(/http:\/\/127\.0\.0\.1:\d+/)
  await countUntil(t, url, 4)
  t.equal(await child.stop('SIGTERM'), 0)
})

test("PM2: the ecosystem file's processes share a port and all sessions", async (t) => {
  const env = { STORAGE: await temporaryFolder(t), PORT: '0' }
  const child = startChild(t, 'test/fixtures/pm2.ts', env, ['examples/pm2/ecosystem.config.cjs'])
  const [url] = await child.line(/^http:.*/)
  await child.line(/^all are ready$/)
  await countAt(t, [url], 4)
  t.equal(await child.stop('SIGTERM'), 0)
})

test('threads: each has a port, and all have all sessions', async (t) => {
  const env = { STORAGE: await temporaryFolder(t), PORT: '0' }
  const child = startChild(t, 'examples/threads.mjs', env)
  const one = await child.line(/^thread 0 on (.*)/)
  const other = await child.line(/^thread 1 on (.*)/)
  await countAt(t, [one[1] ?? '', other[1] ?? ''], 2)
  t.equal(await child.stop('SIGTERM'), 0)
})

/** Workers start one after the other: only when all are there does each have its share. */
async function countUntil(t: Test, url: string, workers: number): Promise<void> {
  const seen = new Set<number | undefined>()
  while (seen.size < workers) {
    const response = await fetch(url, { headers: { connection: 'close' } })
    seen.add(((await response.json()) as Answer).worker)
  }
  await countAt(t, [url], workers)
}
