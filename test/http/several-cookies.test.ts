import { type Test, test } from 'tap'
import { MemoryStore, type SledSessionOptions } from '../../lib/index.js'
import { createSessionId } from '../../lib/record/handle.js'
import { createApp, temporaryFolder } from '../support/app.js'

/** Counts what it is asked for. */
class CountedStore extends MemoryStore {
  loads = 0
  failing: number[] = []

  override load(id: string): ReturnType<MemoryStore['load']> {
    this.loads++
    if (this.failing.includes(this.loads)) throw new Error('the disk is gone')
    return super.load(id)
  }
}

interface Answer {
  readonly status: number
  readonly user: string
  /** The values of the Set-Cookie headers. */
  readonly set: string[]
}

async function site(t: Test, options: SledSessionOptions = {}) {
  const warnings: string[] = []
  const stream = { write: (line: string) => void warnings.push(line) }
  const app = await createApp(t, options, { logger: { level: 'warn', stream } })
  app.get('/login', async ({ session }) => session.setPrincipal('ann'))
  app.get('/logout', async ({ session }) => session.destroy())
  app.get('/', async ({ session }) => ({ user: session.principal }))
  const get = async (url: string, ...values: string[]): Promise<Answer> => {
    const cookie = values.map((value) => `id=${value}`).join('; ')
    const response = await app.inject({ url, headers: { cookie } })
    const set = response.cookies.map(({ value }) => value)
    const user = url === '/' ? String(response.json().user) : ''
    return { status: response.statusCode, user, set }
  }
  const login = async (): Promise<string> => String((await get('/login')).set[0])
  return { app, get, login, warnings }
}

test('of an old cookie and a new one, whichever is live is the session', async (t) => {
  const { get, login, warnings } = await site(t)
  const mine = await login()
  const dead = await login()
  await get('/logout', dead)
  for (const values of [
    [mine, dead],
    [dead, mine],
    [mine, mine],
    [mine, 'garbage'],
    ['', mine, createSessionId(), createSessionId()]
  ]) {
    t.match(await get('/', ...values), { status: 200, user: 'ann', set: [] }, values.join())
  }
  t.equal(warnings.filter((line) => line.includes('several session cookies')).length, 1, 'once')
})

test('after a change of the path a visitor can log out and in again', async (t) => {
  const path = await temporaryFolder(t)
  const first = await site(t, { path })
  const old = await first.login()
  await first.app.close()

  const { get } = await site(t, { path, alwaysSave: true })
  t.same((await get('/', old)).set, [old], 'the new cookie joins the old one')
  t.match(await get('/', old, old), { user: 'ann' })
  t.same((await get('/logout', old, old)).set, [''], 'and is gone, the old one is not')
  const [fresh = ''] = (await get('/login', old)).set
  t.match(await get('/', old, fresh), { user: 'ann' })
  await get('/logout', old, fresh)
  t.match(await get('/', old), { user: 'null' })
})

test('two that are live are as good as none: one of them may be planted', async (t) => {
  const { get, login } = await site(t)
  const mine = await login()
  const planted = await login()
  for (const values of [
    [mine, planted],
    [planted, mine],
    [mine, 'x', planted]
  ]) {
    // Nor is any cleared: the one that stays might be the planted one.
    t.match(await get('/', ...values), { user: 'null', set: [] })
  }
  t.match(await get('/', mine), { user: 'ann' }, 'neither has ended')
})

test('those of which none is live are cleared, and a login goes on from there', async (t) => {
  const { get } = await site(t)
  const dead = [createSessionId(), createSessionId()]
  t.same((await get('/', ...dead)).set, [''])
  const [fresh = ''] = (await get('/login', ...dead)).set
  t.match(await get('/', dead[0] ?? '', fresh), { user: 'ann' })
})

test('so many are looked up and no more', async (t) => {
  const store = new CountedStore()
  const { get, login } = await site(t, { store })
  const mine = await login()
  const planted = Array.from({ length: 200 }, createSessionId)
  store.loads = 0
  t.match(await get('/', mine, ...planted), { user: 'null', set: [] })
  t.equal(store.loads, 0)
  t.match(await get('/', mine, ...planted.slice(0, 3)), { user: 'ann' })
  t.equal(store.loads, 4)
})

test('a store that fails on one of them is a 503, and ends none', async (t) => {
  const store = new CountedStore()
  const { get, login } = await site(t, { store })
  const [mine, other] = [await login(), await login()]
  store.loads = 0
  store.failing = [2]
  t.equal((await get('/logout', mine, other)).status, 503)
  store.failing = []
  for (const value of [mine, other]) t.match(await get('/', value), { user: 'ann' })
})

test('the manager finds the one of several as well', async (t) => {
  const { app, login } = await site(t)
  const [mine, other] = [await login(), await login()]
  const load = (...values: string[]) =>
    app.sessions.load(values.map((value) => `id=${value}`).join('; '))
  t.equal((await load(createSessionId(), mine))?.principal, 'ann')
  t.equal(await load(mine, other), null)
  t.equal(await load(createSessionId(), createSessionId()), null)
})
