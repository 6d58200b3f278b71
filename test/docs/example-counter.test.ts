import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { test } from 'tap'
import { temporaryFolder } from '../support/app.js'
import { startChild } from '../support/child.js'
import { countKind, readDatabase } from '../support/rocksdb.js'

test('the counter example counts, survives kill -9 and ends on SIGTERM without a loss', async (t) => {
  const path = await temporaryFolder(t)
  const env = { STORAGE: path, PORT: '0', EXPIRY_SECONDS: '600' }
  // Each on a connection of its own, as with curl: Node keeps others open for their timeout.
  const visit = async (url: string, cookie = '') => {
    const request = get(url, { agent: false, headers: { cookie } })
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const [header] = response.headers['set-cookie'] ?? []
    return { text: await text(response), cookie: header?.split(';')[0] }
  }

  const first = startChild(t, 'examples/counter.ts', env)
  const [url = ''] = await first.line(/http:\/\/127\.0\.0\.1:\d+/)
  const { text: body, cookie } = await visit(url)
  t.equal(body, 'Current count: 0')
  t.equal((await visit(url, cookie)).text, 'Current count: 1')
  t.equal(await first.stop('SIGKILL'), 'SIGKILL')

  const second = startChild(t, 'examples/counter.ts', env)
  const [secondUrl = ''] = await second.line(/http:\/\/127\.0\.0\.1:\d+/)
  t.equal((await visit(secondUrl, cookie)).text, 'Current count: 2')
  // Answers that are under way when the signal comes are finished; what they say is stored.
  const last = Array.from({ length: 20 }, () => visit(secondUrl, cookie))
  await Promise.race(last)
  const [ended, ...answers] = await Promise.all([
    second.stop('SIGTERM'),
    ...last.map((visiting) => visiting.catch(() => null))
  ])
  t.equal(ended, 0)
  const highest = Math.max(
    ...answers.map((answer) => Number(answer?.text.match(/^Current count: (\d+)$/)?.[1] ?? 0))
  )
  t.equal(countKind(await readDatabase(path), 1), 1)

  const third = startChild(t, 'examples/counter.ts', env)
  const [thirdUrl = ''] = await third.line(/http:\/\/127\.0\.0\.1:\d+/)
  t.equal((await visit(thirdUrl, cookie)).text, `Current count: ${highest + 1}`)
  t.equal(await third.stop('SIGINT'), 0)
})
