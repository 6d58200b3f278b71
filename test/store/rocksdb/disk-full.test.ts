import { join } from 'node:path'
import { onInactivity } from '../../../lib/index.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { until } from '../../../scripts/servers/until.js'
import { addCounter, cookieOf, createApp, listen, TestClock } from '../../support/app.js'
import { withDatabase } from '../../support/rocksdb.js'
import { fillDisk, smallDisk, testOnSmallDisk } from '../../support/small-disk.js'

const MIB = 1024 * 1024

const test = testOnSmallDisk(import.meta.url)

for (const durability of ['process', 'power'] as const) {
  test(`a full disk (${durability}): 503 for writes, reads go on, nothing is lost, and it recovers by itself`, async (t) => {
    const disk = await smallDisk(t)
    const path = join(disk, 'storage')
    const lines: string[] = []
    const logger = { level: 'debug', stream: { write: (line: string) => lines.push(line) } }
    // The least memory: some records do not fit into the cache, and are read from the disk.
    const app = await createApp(t, { path, durability, memory: MIB }, { logger })
    // Every other time so long that it is kept apart from its record.
    const trailOf = (counter: number): string => `${counter} `.repeat(1200 * (counter % 2))
    app.get('/', async ({ session }) => {
      const counter = (session.get('counter') ?? 0) + 1
      session.set('counter', counter)
      session.set('trail', trailOf(counter))
      return counter
    })
    app.get('/read', async ({ session }) => {
      const counter = session.get('counter') ?? 0
      return session.get('trail') === trailOf(counter) ? counter : 'half a session'
    })
    app.get('/out', async (request) => request.session.destroy())
    const url = await listen(app)
    const get = (at: string, cookie = ''): Promise<Response> =>
      fetch(url + at, { headers: { cookie } })

    const counted = new Map<string, number>()
    const visit = async (cookie = ''): Promise<number> => {
      const response = await get('/', cookie)
      await response.arrayBuffer()
      const own = cookieOf(response) ?? cookie
      if (response.ok) counted.set(own, (counted.get(own) ?? 0) + 1)
      else t.equal(response.headers.getSetCookie().length, 0)
      return response.status
    }
    /** What each visitor would see now; equal to `counted` if nothing is lost. */
    const readAll = async (): Promise<Map<string, number>> => {
      const cookies = [...counted.keys()]
      const texts = await Promise.all(
        cookies.map(async (cookie) => (await get('/read', cookie)).text())
      )
      return new Map(cookies.map((cookie, at) => [cookie, Number(texts[at])]))
    }
    const first = await Promise.all(Array.from({ length: 400 }, () => visit()))
    t.same(new Set(first), new Set([200]))
    const cookies = [...counted.keys()]

    for (let round = 0; round < 2; round++) {
      const freeDisk = await fillDisk(disk)
      const statuses = new Set<number>()
      // What RocksDB has reserved of the disk is used up first.
      for (let n = 0; n < 3000 && !statuses.has(503); n++) {
        statuses.add(await visit(cookies[n % cookies.length]))
      }
      t.ok(statuses.has(503), 'what must be written is refused')
      t.equal((await get('/out', cookies[0])).status, 503, 'a logout too')
      t.equal(await visit(), 503, 'and a new session')
      t.same(await readAll(), counted, 'reads go on')
      await freeDisk()
      await until(async () => (await visit(cookies[1])) === 200)
      t.same(await readAll(), counted, 'nothing is lost')
      t.same(new Set(await Promise.all(cookies.map((cookie) => visit(cookie)))), new Set([200]))
    }
    const said = (text: string): number => lines.filter((line) => line.includes(text)).length
    t.equal(said('a write failed: the session database is opened anew'), 2)
    t.equal(said('the session database was opened anew'), 2)

    await app.close()
    const found = await withDatabase(path, (db) => verify(db))
    t.match(found, { problems: 0, records: counted.size, quarantined: 0 })
  })
}

test('what comes due on a full disk, and what is used meanwhile, costs nobody anything', async (t) => {
  const disk = await smallDisk(t)
  const path = join(disk, 'storage')
  const clock = new TestClock()
  const app = await createApp(t, { path, now: clock.now, reapInterval: false, touchInterval: 1 })
  addCounter(app)
  app.get('/read', async ({ session }) => session.get('counter') ?? 0)
  app.get('/begin', async ({ session }) => {
    session.set('counter', 1)
    session.expiry = onInactivity({ minutes: 1 })
    await session.save()
    // It stays filed under the first deadline, beside those that end then.
    session.expiry = onInactivity({ hours: 1 })
  })
  app.get('/short', async ({ session }) => {
    session.set('counter', 1)
    session.expiry = onInactivity({ minutes: 1 })
  })
  const url = await listen(app)
  const get = (at: string, cookie = ''): Promise<Response> =>
    fetch(url + at, { headers: { cookie } })
  const begin = (at: string): Promise<string[]> =>
    Promise.all(Array.from({ length: 200 }, async () => cookieOf(await get(at)) ?? ''))
  const readAll = (cookies: string[]): Promise<string[]> =>
    Promise.all(cookies.map(async (cookie) => (await get('/read', cookie)).text()))
  const [[first = '', ...living], short] = await Promise.all([begin('/begin'), begin('/short')])

  const freeDisk = await fillDisk(disk)
  await until(async () => (await get('/', first)).status === 503)
  clock.advance({ seconds: 61 })
  t.same(new Set(await readAll(living)), new Set(['1']))
  for (let run = 0; run < 3; run++) {
    await t.rejects(app.sessions.deleteExpired(), { code: 'SLED_SESSION_STORE_UNAVAILABLE' })
  }
  await freeDisk()
  await until(async () => (await get('/', first)).status === 200)
  t.equal(await app.sessions.deleteExpired(), short.length)
  t.same(new Set(await readAll(living)), new Set(['1']))
  t.same(new Set(await readAll(short)), new Set(['0']))
  await app.close()
  const found = await withDatabase(path, (db) => verify(db))
  t.match(found, { problems: 0, records: 1 + living.length, quarantined: 0 })
})

test('closing does not wait for the disk to take writes again', async (t) => {
  const disk = await smallDisk(t)
  const path = join(disk, 'storage')
  const app = await createApp(t, { path })
  addCounter(app)
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const freeDisk = await fillDisk(disk)
  await until(async () => (await fetch(url, { headers: { cookie } })).status === 503)
  await app.close()
  await freeDisk()
  const again = await createApp(t, { path })
  addCounter(again)
  const response = await fetch(await listen(again), { headers: { cookie } })
  t.equal(response.status, 200)
  t.not(await response.text(), 'Current count: 0')
})
