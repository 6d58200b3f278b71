import globalTimers from 'node:timers'
import { type Test, test } from 'tap'
import { openSessionStore } from '../../../lib/index.js'
import { createApp, temporaryFolder } from '../../support/app.js'
import { someRecord } from '../../support/sessions.js'

const NAMES = ['setImmediate', 'setTimeout', 'setInterval'] as const

/** Puts timers that never fire, and a clock that stands, in the place of the process's own. */
function fakeTimers(t: Test): () => void {
  const places = [globalThis, globalTimers] as Record<string, unknown>[]
  const real = places.map((place) => NAMES.map((name) => place[name]))
  const { Date: RealDate } = globalThis
  for (const place of places) for (const name of NAMES) place[name] = () => ({ unref() {} })
  globalThis.Date = class extends RealDate {
    static override now = () => 0
  } as DateConstructor
  const restore = (): void => {
    for (const [at, place] of places.entries()) {
      for (const [index, name] of NAMES.entries()) place[name] = real[at]?.[index]
    }
    globalThis.Date = RealDate
  }
  t.teardown(restore)
  return restore
}

test('fake timers stop neither a write nor the store after them, and do not move its clock', async (t) => {
  const app = await createApp(t)
  app.get('/', async ({ session }) => session.update<number>('n', (n = 0) => n + 1))
  await app.ready()
  const restore = fakeTimers(t)
  const first = await app.inject('/')
  t.equal(first.body, '1')
  const cookies = { id: first.cookies[0]?.value ?? '' }
  t.equal((await app.inject({ url: '/', cookies })).body, '2')
  restore()
  t.equal((await app.inject({ url: '/', cookies })).body, '3')
})

test('a clock that is to be moved is given as now', async (t) => {
  const app = await createApp(t, { now: () => Date.now() })
  app.get('/', async ({ session }) => {
    session.set('n', 1)
    return session.createdAt
  })
  await app.ready()
  const restore = fakeTimers(t)
  t.equal((await app.inject('/')).json(), new Date(0).toISOString())
  restore()
})

test('a record that cannot be encoded fails its write, and the store closes all the same', async (t) => {
  const store = await openSessionStore(await temporaryFolder(t))
  const record = someRecord(1, Date.now())
  record.createdAt = 5n as unknown as number
  await t.rejects(store.putRecords([record]), { cause: TypeError })
  const whole = someRecord(2, Date.now())
  await store.putRecords([whole])
  t.ok(await store.read(whole.handle))
  await store.close()
})
