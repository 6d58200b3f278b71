import { createHmac } from 'node:crypto'
import { type Test, test } from 'tap'
import { MemoryStore, type SledSessionOptions } from '../../lib/index.js'
import { type FormerStore, type TakeOverOptions, takeOver } from '../../lib/take-over.js'
import { until } from '../../scripts/servers/until.js'
import { cookieOf, createApp, listen } from '../support/app.js'

const secret = 'a former secret of thirty-two characters'

/** A former store as connect-redis without a time limit of its own: it hands out all that it has. */
class Former implements FormerStore {
  readonly sessions = new Map<string, object>()

  get(sid: string, callback: (error: unknown, session?: object | null) => void): void {
    setImmediate(callback, null, this.sessions.get(sid))
  }

  destroy(sid: string, callback: (error?: unknown) => void): void {
    this.sessions.delete(sid)
    setImmediate(callback)
  }

  /** The cookie of a visitor who has logged in there. */
  visitor(sid: string, more: object = {}): string {
    this.sessions.set(sid, { cookie: { originalMaxAge: null }, user: sid, ...more })
    const signature = createHmac('sha256', secret).update(sid).digest('base64').replace(/=+$/, '')
    return `connect.sid=${encodeURIComponent(`s:${sid}.${signature}`)}`
  }
}

async function siteFor(
  t: Test,
  more: Partial<TakeOverOptions> = {},
  options: SledSessionOptions = {}
) {
  const from = new Former()
  const app = await createApp(t, options)
  await app.register(takeOver, {
    from,
    secrets: [secret],
    cookieName: 'connect.sid',
    until: new Date(Date.now() + 86_400_000),
    principal: ({ user }) => user as string,
    ...more
  })
  app.get('/', async ({ session }) => ({ principal: session.principal }))
  app.get('/fails', async () => {
    throw new Error('out of order')
  })
  app.get('/logout', async ({ session }) => {
    await session.destroy()
    return {}
  })
  app.get('/login', async ({ session }) => {
    await session.setPrincipal('bob')
    return {}
  })
  const url = await listen(app)
  const get = async (cookie: string, path = '/') => {
    const response = await fetch(url + path, { headers: { cookie } })
    const { principal } = (await response.json()) as { principal?: string | null }
    const forgotten = response.headers
      .getSetCookie()
      .some((header) => header.startsWith('connect.sid=; Max-Age=0'))
    return { status: response.status, principal, forgotten, own: cookieOf(response) ?? '' }
  }
  return { app, from, get, url }
}

const IN_THE_PAST = new Date(Date.now() - 1).toISOString()
const IN_THE_FUTURE = new Date(Date.now() + 60_000).toISOString()

test('a former session that its own package would refuse as expired is not taken over', async (t) => {
  const { from, get } = await siteFor(t)
  const late = from.visitor('ann', { cookie: { originalMaxAge: 1, expires: IN_THE_PAST } })
  t.match(await get(late), { principal: null, forgotten: true })
  await until(() => from.sessions.size === 0)
  for (const expires of [IN_THE_FUTURE, null, undefined, false]) {
    const { principal } = await get(from.visitor('ann', { cookie: { expires } }))
    t.equal(principal, 'ann', `expires: ${expires}`)
  }
  const bare = from.visitor('ann', { cookie: undefined })
  t.equal((await get(bare)).principal, 'ann')
})

test('after a first request that ends in a 500, a logout ends it all', async (t) => {
  const { from, get } = await siteFor(t)
  const former = from.visitor('ann')
  const first = await get(former, '/fails')
  t.match(first, { status: 500, forgotten: true, own: /^id=/ })
  await until(() => from.sessions.size === 0)
  t.equal((await get(first.own)).principal, 'ann')
  await get(first.own, '/logout')
  t.equal((await get(`${former}; ${first.own}`)).principal, null)
})

test('if the new session cannot be stored, the former one stays', async (t) => {
  const store = new MemoryStore()
  const { from, get } = await siteFor(t, {}, { store })
  const former = from.visitor('ann')
  const { save } = store
  store.save = () => Promise.reject(new Error('disk full'))
  for (const path of ['/', '/fails']) {
    t.match(await get(former, path), { forgotten: false, own: '' }, path)
  }
  store.save = save
  t.equal(from.sessions.size, 1)
  t.equal((await get(former)).principal, 'ann')
})

test('a former cookie beside a session of ours does not survive its logout', async (t) => {
  for (const path of ['/logout', '/', '/fails']) {
    const { from, get } = await siteFor(t)
    const { own } = await get('', '/login')
    const former = from.visitor('ann')
    const both = `${former}; ${own}`
    t.match(await get(both, path), { forgotten: true }, path)
    await until(() => from.sessions.size === 0)
    await get(own, '/logout')
    t.equal((await get(both)).principal, null, 'nobody is logged in again')
  }
})

test('whoever has not got the answer comes again with the former cookie', async (t) => {
  const { app, from } = await siteFor(t)
  const former = from.visitor('ann')
  let gone: () => void = () => {}
  const left = new Promise<void>((resolve) => {
    gone = resolve
  })
  app.server.prependListener('request', (_request, response) => {
    // The connection breaks when the answer is about to leave.
    response.write = () => response.destroy() as never
    response.end = () => response.destroy() as never
    response.once('close', gone)
  })
  const { port } = app.server.address() as { port: number }
  await t.rejects(fetch(`http://127.0.0.1:${port}/`, { headers: { cookie: former } }))
  await left
  await new Promise(setImmediate)
  t.equal(from.sessions.size, 1)
})

test('what a "log out everywhere" has ended since is refused by accept', async (t) => {
  const validFrom = 1000
  const seen: object[] = []
  const { from, get } = await siteFor(t, {
    accept: async (data) => {
      seen.push(data)
      return (data.loggedInAt as number) >= validFrom
    }
  })
  const old = from.visitor('ann', { loggedInAt: 999 })
  t.match(await get(old), { principal: null, forgotten: true })
  t.match(seen[0], { user: 'ann', loggedInAt: 999, cookie: { originalMaxAge: null } })
  await until(() => from.sessions.size === 0)
  t.equal((await get(from.visitor('bob', { loggedInAt: 1000 }))).principal, 'bob')
})

test('an accept that fails or says nothing ends no session', async (t) => {
  const wrong = [
    () => undefined,
    () => {
      throw new Error('the database is away')
    }
  ]
  for (const accept of wrong as unknown as (() => boolean)[]) {
    const { from, get } = await siteFor(t, { accept })
    t.match(await get(from.visitor('ann')), { status: 500, forgotten: false, own: '' })
    t.equal(from.sessions.size, 1)
  }
  const accept = 'yes' as unknown as () => boolean
  await t.rejects(siteFor(t, { accept }), { code: 'SLED_SESSION_INVALID_OPTION' })
})
