import { type Test, test } from 'tap'
import { Balancer } from '../../../scripts/servers/balancer.js'
import { cookieOf } from '../../support/app.js'
import { startChild } from '../../support/child.js'
import { openStore, temporaryFolder } from '../../support/lmdb.js'

const VISITORS = 8
const DEPLOYS = 3
/** A visitor leaves after so many counts, and another comes. */
const STAY = 40

/** What visitors have been told so far. */
interface Load {
  requests: number
  /** What went otherwise than on a single server that never ends, each in a line. */
  readonly errors: string[]
  /** Of those who are there, by cookie, and of those who have left. */
  readonly counters: Map<string, number>
  readonly ended: Set<string>
  stopped: boolean
  /** Called after each answer. */
  answered: () => void
}

/** Each request has a connection of its own, so that all servers have their share. */
async function ask(url: string, cookie: string, load: Load): Promise<Response | null> {
  load.requests++
  try {
    const response = await fetch(url, { headers: { cookie, connection: 'close' } })
    if (response.ok) return response
    load.errors.push(`${response.status} ${await response.text()}`)
  } catch (error) {
    load.errors.push(`${error} ${(error as Error).cause}`)
  } finally {
    load.answered()
  }
  return null
}

async function visit(url: string, load: Load): Promise<void> {
  const first = await ask(url, '', load)
  const cookie = first === null ? '' : (cookieOf(first) ?? '')
  for (let counter = 1; ; counter++) {
    load.counters.set(cookie, counter)
    if (load.stopped) return
    if (counter === STAY) break
    const answer = (await (await ask(url, cookie, load))?.json()) as { counter: number } | undefined
    if (answer?.counter !== counter + 1) {
      load.errors.push(`counted ${answer?.counter} after ${counter}`)
      return
    }
  }
  await ask(`${url}/logout`, cookie, load)
  load.counters.delete(cookie)
  load.ended.add(cookie)
}

async function visitOften(url: string, load: Load): Promise<void> {
  while (!load.stopped) await visit(url, load)
}

async function startServer(t: Test, path: string) {
  const child = startChild(t, 'test/fixtures/lmdb-server.ts', { STORAGE: path })
  const [, url = ''] = await child.line(/listening on (.*)/)
  return { child, url }
}

test('a deploy under load: old and new serve side by side, no request fails, and nothing is lost', async (t) => {
  const path = await temporaryFolder(t)
  const balancer = await Balancer.start()
  t.teardown(() => balancer.close())
  let old = await startServer(t, path)
  balancer.add(old.url)
  const load: Load = {
    requests: 0,
    errors: [],
    counters: new Map(),
    ended: new Set(),
    stopped: false,
    answered: () => {}
  }
  const visiting = Array.from({ length: VISITORS }, () => visitOften(balancer.url, load))
  const served = (count: number): Promise<void> =>
    new Promise((resolve) => {
      const target = load.requests + count
      load.answered = () => {
        if (load.requests >= target || load.errors.length > 0) resolve()
      }
    })
  for (let deploy = 0; deploy < DEPLOYS; deploy++) {
    await served(100)
    const fresh = await startServer(t, path)
    balancer.add(fresh.url)
    await served(200)
    await balancer.remove(old.url)
    t.equal(await old.child.stop('SIGTERM'), 0)
    old = fresh
  }
  await served(100)
  load.stopped = true
  await Promise.all(visiting)
  t.same(load.errors, [])

  const { store } = await openStore(t, { path })
  for (const [cookie, counter] of load.counters) {
    const record = await store.load(cookie.slice('id='.length))
    t.equal(record?.data.get('counter'), String(counter))
  }
  t.ok(load.ended.size > 0)
  for (const cookie of load.ended) t.equal(await store.load(cookie.slice('id='.length)), null)
})
