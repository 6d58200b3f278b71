import type { Session } from '../../../lib/index.js'
import { Gate } from '../../support/gate.js'
import { testWith } from '../../support/needs.js'
import { begin, pair } from '../../support/redis-app.js'

const test = testWith('redis-server')

test('update runs again with what another process has stored', async (t) => {
  const { one, other } = await pair(t)
  const { handle } = await begin(one, (session) => session.set('counter', 1))
  const inHand = new Gate()
  const go = new Gate()
  const seen: unknown[] = []
  const session = await one.sessions.get(handle)
  const updating = session?.update('counter', async (counter = 0) => {
    seen.push(counter)
    inHand.open()
    await go.opened
    return counter + 1
  })
  await inHand.opened
  const theirs = await other.sessions.get(handle)
  t.equal(await theirs?.update('counter', (counter = 0) => counter + 10), 11)
  go.open()
  t.equal(await updating, 12)
  t.same(seen, [1, 11])
  t.equal(session?.get('counter'), 12)
  t.equal(session?.isModified, false, 'it is stored already')
})

test('what fn changed in place in vain is not saved', async (t) => {
  const { one, other } = await pair(t)
  const { handle } = await begin(one, (session) => session.set('list', ['a']))
  const session = await one.sessions.get(handle)
  const theirs = await other.sessions.get(handle)
  let runs = 0
  await session?.update<string[]>('list', async (list = []) => {
    if (runs++ === 0) await theirs?.update<string[]>('list', (old = []) => [...old, 'theirs'])
    list.push('mine')
    return list
  })
  await session?.save()
  t.same((await other.sessions.get(handle))?.get('list'), ['a', 'theirs', 'mine'])
})

test('update builds on what its own request has set, and respects the size limit', async (t) => {
  const { one, other } = await pair(t, { maxRecordSize: 300 })
  const { handle } = await begin(one, (session) => session.set('list', ['a']))
  const session = (await one.sessions.get(handle)) as Session
  session.get<string[]>('list')?.push('b')
  const list = await session.update<string[]>('list', (old = []) => {
    session.set('list', ['not this'])
    return [...old, 'c']
  })
  t.same(list, ['a', 'b', 'c'])
  await t.rejects(
    session.update('other', () => 'x'.repeat(400)),
    {
      code: 'SLED_SESSION_TOO_LARGE'
    }
  )
  list.push('d')
  await session.save()
  t.same((await other.sessions.get(handle))?.get('list'), ['a', 'b', 'c', 'd'])
})

test('update gives up on a value that others change all the time', async (t) => {
  const { one, other } = await pair(t)
  const { handle } = await begin(one, (session) => session.set('counter', 1))
  const session = (await one.sessions.get(handle)) as Session
  const theirs = await other.sessions.get(handle)
  const updating = session.update('counter', async (counter = 0) => {
    await theirs?.update('counter', (old = 0) => old + 1)
    return counter
  })
  await t.rejects(updating, { code: 'SLED_SESSION_BUSY' })
})

test('update of a session that has ended elsewhere drops the value', async (t) => {
  const { one, other, lines } = await pair(t)
  const { handle } = await begin(one, (session) => session.set('counter', 1))
  const session = await one.sessions.get(handle)
  await other.sessions.revoke(handle)
  t.equal(await session?.update('counter', (counter = 0) => counter + 1), 2)
  t.equal(session?.isDestroyed, true)
  t.equal(await one.sessions.get(handle), null)
  t.ok(lines.some((line) => /changes were dropped/.test(line)))
})

test('reload gets what another process has stored', async (t) => {
  const { one, other } = await pair(t)
  const { handle } = await begin(one, (session) => session.set('counter', 1))
  const session = await one.sessions.get(handle)
  await other.sessions.update(handle, (theirs) => {
    theirs.set('other', true)
    theirs.metadata = 'phone'
  })
  session?.set('counter', 5)
  await session?.reload()
  t.same(session?.entries(), [
    ['counter', 1],
    ['other', true]
  ])
  t.equal(session?.metadata, 'phone')
  await other.sessions.revoke(handle)
  await session?.reload()
  t.equal(session?.isNew, true)
  t.equal(session?.isEmpty, true)
})

test('a login whose session has ended elsewhere begins a new one', async (t) => {
  const { one, other } = await pair(t)
  let handle = ''
  one.get('/login', async ({ session }) => {
    await other.sessions.revoke(handle)
    await session.setPrincipal('ann')
  })
  one.get('/logout', async ({ session }) => {
    await other.sessions.revokeAll('ann')
    await session.setPrincipal(null)
    return { isNew: session.isNew }
  })
  const begun = await begin(one, (session) => session.set('counter', 1))
  handle = begun.handle
  const login = await one.inject({ url: '/login', cookies: { id: begun.id } })
  const { value } = login.cookies[0] ?? { value: '' }
  const found = await other.sessions.get(value)
  t.equal(found?.principal, 'ann')
  t.equal(found?.get('counter'), undefined, 'of the ended session nothing is left')
  const logout = await one.inject({ url: '/logout', cookies: { id: value } })
  t.same(logout.json(), { isNew: true })
  t.same(logout.cookies, [])
  t.equal(await one.sessions.count(), 0)
})

test('exclusive routes work on what the request before has stored', async (t) => {
  const { one } = await pair(t)
  one.get('/', { config: { session: { exclusive: { maxQueue: 100 } } } }, async ({ session }) => {
    const counter = session.get('counter') ?? 0
    await new Promise((resolve) => setImmediate(resolve))
    session.set('counter', counter + 1)
    return String(counter)
  })
  const first = await one.inject('/')
  const cookies = { id: first.cookies[0]?.value ?? '' }
  await Promise.all(Array.from({ length: 20 }, () => one.inject({ url: '/', cookies })))
  t.equal((await one.inject({ url: '/', cookies })).body, '21')
})
