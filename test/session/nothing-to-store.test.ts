import { test } from 'tap'
import { onInactivity, type Session } from '../../lib/index.js'
import { createApp, temporaryFolder } from '../support/app.js'
import { openApplicationDatabase } from '../support/rocksdb.js'
import { bind, visitor } from '../support/visitor.js'

type Slip = (session: Session) => unknown

test('an empty session has no id and is not stored, whatever was asked of it', async (t) => {
  const slips: Record<string, Slip> = {
    id: (session) => session.id,
    save: (session) => session.save(),
    'set and delete': (session) => {
      session.set('a', 1)
      session.delete('a')
    },
    'set and clear': (session) => {
      session.set('a', 1)
      session.clear()
    },
    'an update that fails': (session) =>
      session
        .update('a', () => {
          throw new Error('no')
        })
        .catch(() => {}),
    'no metadata': (session) => {
      session.metadata = undefined
    },
    regenerate: (session) => session.regenerate(),
    touch: (session) => session.touch(),
    nobody: (session) => session.setPrincipal(null)
  }
  for (const [name, slip] of Object.entries(slips)) {
    const { run, who } = bind(await visitor(t))
    const count = await run(async ({ session, server }) => {
      await slip(session)
      t.same(
        [session.id, session.handle, session.createdAt, session.isNew],
        [null, null, null, true]
      )
      t.equal(session.isModified, false)
      await session.save()
      return server.sessions.count()
    })
    t.equal(count, 0, name)
    t.equal(who.cookie, '', name)
  }
})

test('destroy, then set and delete, clears the cookie', async (t) => {
  const { run, who } = bind(await visitor(t))
  await run(({ session }) => session.set('a', 1))
  await run(async ({ session }) => {
    await session.destroy()
    session.set('a', 1)
    session.delete('a')
  })
  t.equal(who.cookie, 'id=')
})

test('isDestroyed is true after one’s own destroy, until another session begins', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('a', 1))
  await run(async ({ session }) => {
    t.equal(session.isDestroyed, false)
    await session.destroy()
    t.equal(session.isDestroyed, true)
    session.set('a', 2)
    t.equal(session.isDestroyed, false)
  })
})

test('with saveUninitialized a visitor whose handler only looks has a session too', async (t) => {
  const { run, who } = bind(await visitor(t, { saveUninitialized: true }))
  await run(({ session }) => session.get('nothing'))
  t.match(who.cookie, /^id=./)
})

test('what is set again to what is stored writes nothing', async (t) => {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  t.teardown(() => db.close())
  const { run } = bind(await visitor(t, { db }))
  const cart = () => ({ items: ['book', { at: new Date(5) }] })
  await run(async ({ session }) => {
    session.set('cart', cart())
    session.expiry = onInactivity({ days: 1 })
    await session.setPrincipal('ann', { metadata: { agent: 'phone' } })
  })
  const before = traffic.writes
  await run(async ({ session }) => {
    session.set('cart', cart())
    session.expiry = onInactivity({ days: 1 })
    session.metadata = { agent: 'phone' }
    await session.setPrincipal('ann', { renew: false })
    await session.update('cart', () => cart())
    t.equal(session.isModified, false)
  })
  t.equal(traffic.writes, before)
  await run(({ session }) => {
    const again = cart()
    session.set('cart', again)
    again.items.push('pen')
  })
  t.equal(await run(({ session }) => session.get<{ items: [] }>('cart')?.items.length), 3)
})

test('what another request has set and not stored yet is stored by whoever sets it too', async (t) => {
  const app = await createApp(t)
  app.get('/begin', async ({ session }) => {
    session.set('a', 1)
    return session.handle
  })
  const begun = await app.inject('/begin')
  const handle = begun.body
  const other = (await app.sessions.get(handle)) as Session
  other.set('a', 2)
  const mine = (await app.sessions.get(handle)) as Session
  mine.set('a', 2)
  t.equal(mine.isModified, true)
  await mine.save()
})
