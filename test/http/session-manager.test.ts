import type { LightMyRequestResponse } from 'fastify'
import { type Test, test } from 'tap'
import { MemoryStore, onInactivity, type SledSessionOptions } from '../../lib/index.js'
import { principalKey } from '../../lib/store/format/keys.js'
import { decodeRecord } from '../../lib/store/format/record-codec.js'
import { verify } from '../../lib/store/rocksdb/upkeep/verify.js'
import { aliasesOf } from '../../lib/tools/conformance/harness.js'
import { until } from '../../scripts/servers/until.js'
import {
  addCounter,
  cookieOf,
  createApp,
  listen,
  TestClock,
  temporaryFolder
} from '../support/app.js'
import { countKind, readDatabase, withDatabase } from '../support/rocksdb.js'

const kinds: [string, () => SledSessionOptions][] = [
  ['RocksDB', () => ({})],
  ['memory', () => ({ store: new MemoryStore() })]
]

/** An application where one can log in, and is told who one is. */
async function users(t: Test, options: SledSessionOptions = {}) {
  const app = await createApp(t, options)
  app.get<{ Params: { who: string } }>('/login/:who', async ({ session, params, headers }) =>
    session.setPrincipal(params.who, { metadata: { agent: headers['user-agent'] } })
  )
  app.get('/logout', async ({ session }) => session.setPrincipal(null))
  app.get('/me', async ({ session }) => ({ who: session.principal }))
  app.get('/only-here', async ({ session }) => {
    await session.setPrincipal('ann')
    return { ended: await app.sessions.revokeAll('ann', { except: session }) }
  })
  const url = await listen(app)
  const get = (path: string, cookie: string, agent = 'test') =>
    fetch(url + path, { headers: { cookie, 'user-agent': agent } })
  const login = async (who: string, { agent = 'test', cookie = '' } = {}) =>
    cookieOf(await get(`/login/${who}`, cookie, agent)) ?? ''
  const whoIs = async (cookie = '') =>
    ((await (await get('/me', cookie)).json()) as { who: string | null }).who
  const handleOf = async (cookie = '') => (await app.sessions.load(cookie))?.handle ?? ''
  return { app, sessions: app.sessions, get, login, whoIs, handleOf }
}

function cookieIn({ headers }: LightMyRequestResponse): string {
  return String(headers['set-cookie']).split(';')[0] ?? ''
}

/** A counter that somebody has visited once. */
async function counter(t: Test, options: SledSessionOptions = {}) {
  const app = await createApp(t, options)
  addCounter(app)
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const count = async (headers = { cookie }) => (await fetch(url, { headers })).text()
  const session = await app.sessions.load(cookie)
  if (session === null) throw new Error('no session')
  return { sessions: app.sessions, cookie, count, session, handle: session.handle ?? '' }
}

test("a user's sessions are listed with times and metadata, last used first", async (t) => {
  const clock = new TestClock()
  const expiry = onInactivity({ hours: 1 })
  const { sessions, login, whoIs } = await users(t, { now: clock.now, expiry })
  const start = clock.time
  const phone = await login('ann', { agent: 'phone' })
  clock.advance({ seconds: 10 })
  const laptop = await login('ann', { agent: 'laptop' })
  await login('bob')
  clock.advance({ seconds: 10 })
  await whoIs(phone)

  const list = await sessions.list('ann')
  t.strictSame(
    list.map(({ handle: _, ...info }) => info),
    [
      {
        createdAt: new Date(start),
        lastSeenAt: new Date(start + 20_000),
        expiresAt: new Date(start + 3_620_000),
        metadata: { agent: 'phone' }
      },
      {
        createdAt: new Date(start + 10_000),
        lastSeenAt: new Date(start + 10_000),
        expiresAt: new Date(start + 3_610_000),
        metadata: { agent: 'laptop' }
      }
    ]
  )
  const text = JSON.stringify(list)
  for (const cookie of [phone, laptop]) t.notOk(text.includes(cookie.slice(3)), 'no id in it')
  for (const { handle } of list) t.equal(await whoIs(`id=${handle}`), null, 'nor logs in')
  t.equal(await sessions.count('ann'), 2)
  t.equal(await sessions.count('bob'), 1)
  t.equal(await sessions.count(), 3)

  clock.advance({ seconds: 3595 })
  t.equal(await sessions.count('ann'), 1, 'expired sessions are not listed, reaped or not')
})

for (const [kind, options] of kinds) {
  test(`${kind}: revokeAll ends all sessions of a user but one`, async (t) => {
    const { sessions, login, whoIs } = await users(t, options())
    const cookies = await Promise.all(Array.from({ length: 20 }, () => login('ann')))
    const bob = await login('bob')
    const [kept = ''] = cookies
    const session = await sessions.load(kept)
    t.equal(await sessions.revokeAll('ann', { except: session ?? undefined }), 19)
    t.equal(await sessions.revokeAll('ann', { except: session?.handle ?? undefined }), 0)
    t.equal(await sessions.revokeAll('ann', { except: session?.id ?? undefined }), 0)
    t.equal(await whoIs(kept), 'ann')
    t.equal(await whoIs(cookies[1]), null)
    t.equal(await sessions.revokeAll('ann'), 1)
    t.equal(await whoIs(kept), null)
    t.equal(await sessions.revokeAll('nobody'), 0)
    t.equal(await whoIs(bob), 'bob')
  })

  test(`${kind}: revokeAll ends none if the session that is to stay is none of the user's`, async (t) => {
    const { app, sessions, login, whoIs, handleOf } = await users(t, options())
    const cookie = await login('ann')
    const handle = await handleOf(cookie)
    const bob = await handleOf(await login('bob'))
    const ended = await sessions.load(await login('ann'))
    await ended?.destroy()
    const others = [bob, ended, 'A'.repeat(43), '', null, undefined, ...aliasesOf(handle)]
    for (const except of others) {
      const refused = { code: 'SLED_SESSION_EXCEPT_UNKNOWN', statusCode: 409 }
      await t.rejects(sessions.revokeAll('ann', { except }), refused)
    }
    t.equal(await whoIs(cookie), 'ann')

    const fresh = await app.inject('/only-here')
    t.same(fresh.json(), { ended: 1 }, 'a login that is not stored yet may stay')
    t.equal(await whoIs(cookieIn(fresh)), 'ann')
  })

  test(`${kind}: a text that decodes as a handle does names no session`, async (t) => {
    const { sessions, count, handle } = await counter(t, options())
    for (const alias of aliasesOf(handle)) {
      t.equal(await sessions.revoke(alias), false)
      t.equal(await sessions.get(alias), null)
      t.equal(await sessions.update(alias, () => t.fail('called')), false)
    }
    t.equal(await count(), 'Current count: 1')
  })

  test(`${kind}: nobody is no user, whose sessions could be listed or ended`, async (t) => {
    const { sessions, get, login } = await users(t, options())
    await get('/logout', await login('ann'))
    for (const nobody of ['', null as unknown as string, 7 as unknown as string]) {
      const refused = { code: 'SLED_SESSION_INVALID_PRINCIPAL' }
      await t.rejects(sessions.list(nobody), refused)
      await t.rejects(sessions.count(nobody), refused)
      await t.rejects(sessions.revokeAll(nobody), refused)
    }
    t.equal(await sessions.count(), 1)
  })

  test(`${kind}: sessions can be read and changed outside a request`, async (t) => {
    const { sessions, count, handle } = await counter(t, options())
    t.equal((await sessions.get(handle))?.get('counter'), 1)
    t.equal(await sessions.update(handle, (session) => session.set('counter', 10)), true)
    t.equal(await count(), 'Current count: 10')

    const session = await sessions.get(handle)
    session?.set('counter', 20)
    t.equal(session?.isModified, true)
    await session?.save()
    t.equal(session?.isModified, false)
    t.equal(await count(), 'Current count: 20')

    t.equal(await sessions.revoke(handle), true)
    t.equal(await sessions.revoke(handle), false)
    t.equal(await sessions.get(handle), null)
    t.equal(await sessions.update(handle, () => t.fail('called')), false)
    t.equal(await count(), 'Current count: 0')
  })

  test(`${kind}: what is set outside a request and not saved is stored by itself`, async (t) => {
    const { session } = await counter(t, options())
    session.set('counter', 5)
    await until(() => !session.isModified)
    await session.reload()
    t.equal(session.get('counter'), 5)
  })
}

const hex = (key: Buffer): string => key.toString('hex')

test('all of it survives a restart, and the indexes agree with the records', async (t) => {
  const path = await temporaryFolder(t)
  const before = await users(t, { path })
  const cookies = await Promise.all(Array.from({ length: 5 }, () => before.login('ann')))
  await before.login('bob')
  await before.get('/logout', cookies[0] ?? '')
  const moved = await before.login('bob', { cookie: cookies[1] ?? '' })
  const revoked = await before.handleOf(cookies[2])
  await before.sessions.revoke(revoked)
  const listed = await before.sessions.list('ann')
  await before.app.close()

  const entries = await readDatabase(path)
  const records = entries.filter(([key]) => key[0] === 1)
  const expected = records.flatMap(([key, bytes]) => {
    const { handle, principal } = decodeRecord(key.toString('base64url', 1), bytes, key)
    return principal === null ? [] : [principalKey(principal, handle)]
  })
  const indexed = entries.filter(([key]) => key[0] === 3).map(([key]) => key)
  t.equal(records.length, 5)
  t.same(indexed.map(hex).sort(), expected.map(hex).sort())
  t.equal((await withDatabase(path, verify)).problems, 0)

  const after = await users(t, { path })
  t.strictSame(await after.sessions.list('ann'), listed)
  t.equal(await after.sessions.count('bob'), 2)
  t.equal(await after.whoIs(moved), 'bob')
  t.equal(await after.sessions.get(revoked), null)
  t.equal(await after.sessions.revokeAll('ann', { except: listed[0]?.handle }), 1)
  await after.app.close()
  t.equal(countKind(await readDatabase(path), 3), 3)
})

test('update passes on what its function throws, and stores nothing of it', async (t) => {
  const { sessions, handle } = await counter(t)
  const updating = sessions.update(handle, async () => {
    throw new Error('no')
  })
  await t.rejects(updating, { message: 'no' })
  t.equal((await sessions.get(handle))?.get('counter'), 1)
})

test('a session that was found by its handle does not tell its id', async (t) => {
  const { sessions, session, handle, cookie } = await counter(t)
  t.equal(session.id, cookie.slice('id='.length))
  const found = await sessions.get(handle)
  t.throws(() => found?.id, { code: 'SLED_SESSION_ID_UNKNOWN' })
  t.equal(
    (await sessions.get(session.id ?? ''))?.handle,
    handle,
    'who has the id may find it by that'
  )
})

test('load finds the session of a Cookie header, and counts as activity', async (t) => {
  const clock = new TestClock()
  const expiry = onInactivity({ seconds: 10 })
  const { sessions, cookie } = await counter(t, { now: clock.now, expiry })
  clock.advance({ seconds: 9 })
  const session = await sessions.load(`a=b; ${cookie}; c=d`)
  t.equal(session?.get('counter'), 1)
  t.equal(session?.expiresIn, 10_000)
  const long = `${cookie}${'A'.repeat(100_000)}`
  for (const header of [undefined, '', 'id', 'id=', 'id=garbage', 'id=\0', '\ud800', long]) {
    t.equal(await sessions.load(header), null)
  }
  t.ok(await sessions.load(`${cookie}; ${cookie}`), 'twice the same is one')
  clock.advance({ seconds: 9 })
  t.ok(await sessions.load(cookie))
  clock.advance({ seconds: 10 })
  t.equal(await sessions.load(cookie), null)
})

test('looking at a session is not activity', async (t) => {
  const clock = new TestClock()
  const expiry = onInactivity({ seconds: 10 })
  const { sessions, handle } = await counter(t, { now: clock.now, expiry })
  clock.advance({ seconds: 9 })
  t.equal((await sessions.get(handle))?.expiresIn, 1000)
  clock.advance({ seconds: 1 })
  t.equal(await sessions.get(handle), null)
})

test('sessions outside a request can be destroyed, renewed and reloaded', async (t) => {
  const { sessions, session, count, cookie } = await counter(t)
  await session.regenerate()
  t.equal(await sessions.load(cookie), null)
  const renewed = { cookie: `id=${session.id}` }
  t.equal(await count(renewed), 'Current count: 1')
  await session.reload()
  t.equal(session.get('counter'), 2)
  await session.destroy()
  t.equal(await count(renewed), 'Current count: 0')
})

test('an option that is spelled wrong ends nothing', async (t) => {
  const { sessions, session } = await counter(t)
  await session.setPrincipal('ann')
  const code = 'SLED_SESSION_INVALID_OPTION'
  await t.rejects(sessions.revoke(`${session.handle}`, { principle: 'bob' } as object), { code })
  await t.rejects(sessions.revokeAll('ann', { exept: session } as object), { code })
  t.equal(await sessions.count('ann'), 1)
})
