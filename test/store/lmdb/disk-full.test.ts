import { join } from 'node:path'
import { LmdbStore } from '../../../lib/lmdb.js'
import { openDatabase } from '../../../lib/store/lmdb/engine/database.js'
import { verify } from '../../../lib/store/lmdb/verify.js'
import { until } from '../../../scripts/servers/until.js'
import { addCounter, cookieOf, createApp, listen } from '../../support/app.js'
import { lmdbStoreOfAnotherProcess } from '../../support/lmdb.js'
import { fillDisk, makeReadOnly, smallDisk, testOnSmallDisk } from '../../support/small-disk.js'

const test = testOnSmallDisk(import.meta.url)

for (const durability of ['process', 'power'] as const) {
  test(`a full disk (${durability}): 503 for writes, reads go on, nothing is lost, and it recovers by itself`, async (t) => {
    const disk = await smallDisk(t)
    const path = join(disk, 'sessions')
    const app = await createApp(t, { store: await lmdbStoreOfAnotherProcess({ path, durability }) })
    addCounter(app)
    app.get('/read', async ({ session }) => String(session.get('counter') ?? 'none'))
    app.get('/grow', async ({ session }) => {
      session.set('text' as 'counter', 'x'.repeat(30_000) as never)
    })
    const url = await listen(app)
    const get = (at: string, cookie: string): Promise<Response> =>
      fetch(url + at, { headers: { cookie } })
    const counted = new Map<string, number>()
    const count = async (cookie: string): Promise<number> => {
      const response = await get('/', cookie)
      if (response.ok) counted.set(cookie, (counted.get(cookie) ?? 0) + 1)
      return response.status
    }
    const readAll = async (): Promise<Map<string, number>> => {
      const read = async (cookie: string) => (await get('/read', cookie)).text()
      const texts = await Promise.all([...counted.keys()].map(read))
      return new Map([...counted.keys()].map((cookie, at) => [cookie, Number(texts[at])]))
    }
    for (let visitor = 0; visitor < 50; visitor++) {
      counted.set(cookieOf(await get('/', '')) ?? '', 1)
    }
    const [first = ''] = counted.keys()

    for (let round = 0; round < 2; round++) {
      const freeDisk = await fillDisk(disk)
      // Pages that are free within the file are used up first.
      const refused = async (): Promise<boolean> => {
        const response = await get('/grow', '')
        if (!response.ok) t.equal(response.headers.getSetCookie().length, 0)
        return response.status === 503
      }
      await until(refused)
      t.same(await readAll(), counted, 'reads go on')
      await freeDisk()
      await until(async () => (await count(first)) === 200)
      t.same(await readAll(), counted, 'nothing is lost')
      t.same(new Set(await Promise.all([...counted.keys()].map(count))), new Set([200]))
    }
    await app.close()
    const database = await openDatabase(path)
    t.match(await verify(database), { problems: 0, quarantined: 0 })
    await database.close()
  })
}

test('a disk that has become read-only: 503 for writes, reads go on, and nobody opens it to write', async (t) => {
  const disk = await smallDisk(t)
  const path = join(disk, 'sessions')
  const store = new LmdbStore({ path })
  const app = await createApp(t, { store })
  addCounter(app)
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  await app.close()
  makeReadOnly(disk)
  await t.rejects(async () => createApp(t, { store: new LmdbStore({ path }) }), {
    code: 'SLED_SESSION_PATH_UNUSABLE',
    message: /not writable/
  })
  const looking = await lmdbStoreOfAnotherProcess({ path }, { readOnly: true })
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  await looking.open({ now: Date.now, log })
  t.equal((await looking.load(cookie.slice('id='.length)))?.data.get('counter'), '1')
  await looking.close()
})
