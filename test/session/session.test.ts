import type { FastifyRequest } from 'fastify'
import { test } from 'tap'
import {
  atDateTime,
  type Expiry,
  MemoryStore,
  onInactivity,
  onSessionEnd,
  type SledSessionOptions
} from '../../lib/index.js'
import { cookieOf, createApp, listen, TestClock } from '../support/app.js'
import { Gate } from '../support/gate.js'
import { bind, visitor } from '../support/visitor.js'

for (const kind of ['RocksDB', 'memory']) {
  const options = (): SledSessionOptions => (kind === 'memory' ? { store: new MemoryStore() } : {})

  test(`data on ${kind}: set, get, has, delete, pop, keys, entries, clear`, async (t) => {
    const { run } = bind(await visitor(t, options()))
    await run(({ session }) => {
      session.set('a', 1)
      session.set('b', { deep: ['x'] })
      session.set('c', undefined)
    })
    await run(({ session }) => {
      t.equal(session.get('a'), 1)
      t.same(session.get('b'), { deep: ['x'] })
      t.equal(session.get('c'), undefined)
      t.ok(session.has('c'))
      t.notOk(session.has('d'))
      t.same(session.keys(), ['a', 'b', 'c'])
      t.same(session.entries(), [
        ['a', 1],
        ['b', { deep: ['x'] }],
        ['c', undefined]
      ])
      t.equal(session.size, 3)
      t.notOk(session.isEmpty)
      t.ok(session.delete('a'))
      t.notOk(session.delete('a'))
      t.same(session.pop('b'), { deep: ['x'] })
      t.equal(session.pop('b'), undefined)
    })
    t.same(await run(({ session }) => session.keys()), ['c'])
    await run(({ session }) => session.clear())
    t.same(await run(({ session }) => [session.keys(), session.isEmpty, session.isNew]), [
      [],
      true,
      false
    ])
  })

  test(`the life of a session on ${kind}: isNew, isModified, save, reload, destroy`, async (t) => {
    const { run } = bind(await visitor(t, options()))
    await run(async ({ session }) => {
      t.ok(session.isNew)
      t.notOk(session.isModified)
      t.equal(session.handle, null)
      session.set('counter', 1)
      t.ok(session.isNew)
      t.ok(session.isModified)
      await session.save()
      t.notOk(session.isNew)
      t.notOk(session.isModified)
    })
    await run(async ({ session }) => {
      t.notOk(session.isNew)
      session.set('counter', 2)
      session.set('other', 3)
      await session.reload()
      t.equal(session.get('counter'), 1)
      t.notOk(session.has('other'))
      t.notOk(session.isModified)
    })
    t.equal(await run(({ session }) => session.get('counter')), 1)
    await run(async ({ session }) => {
      await session.destroy()
      t.ok(session.isNew)
      t.equal(session.get('counter'), undefined)
    })
    t.equal(await run(({ session }) => session.get('counter')), undefined)
  })
}

test('rich values and any key come back exactly', async (t) => {
  const { run } = bind(await visitor(t))
  const values: Record<string, unknown> = {
    date: new Date(5),
    map: new Map<unknown, unknown>([[1, new Set([2n])]]),
    bytes: new Uint8Array([1, 2, 255]),
    nan: Number.NaN,
    nothing: undefined,
    list: [undefined, -0, Number.POSITIVE_INFINITY]
  }
  const keys = ['__proto__', 'constructor', 'toString', '', 'ключ', '\ud800', '\0', 'a b;c=d']
  await run(({ session }) => {
    for (const [key, value] of Object.entries(values)) session.set(key, value)
    for (const key of keys) session.set(key, { key })
  })
  await run(({ session }) => {
    for (const [key, value] of Object.entries(values)) t.strictSame(session.get(key), value, key)
    for (const key of keys) t.same(session.get(key), { key }, JSON.stringify(key))
    t.equal(session.size, keys.length + Object.keys(values).length)
  })
  t.equal(Object.hasOwn(Object.prototype, 'key'), false)
})

test('an object that was changed in place is saved', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => {
    const cart = { items: ['a'] }
    session.set('cart', cart)
    cart.items.push('b')
  })
  await run(({ session }) => session.get<{ items: string[] }>('cart')?.items.push('c'))
  t.same(await run(({ session }) => session.get('cart')), { items: ['a', 'b', 'c'] })
})

test('what one request changed in place, a parallel one does not see half-made', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', { items: ['a'] }))
  const changed = new Gate()
  const looked = new Gate()
  await Promise.all([
    run(async ({ session }) => {
      session.get<{ items: string[] }>('cart')?.items.push('b')
      changed.open()
      await looked.opened
    }),
    run(async ({ session }) => {
      await changed.opened
      t.same(session.get('cart'), { items: ['a'] })
      looked.open()
    })
  ])
  t.same(await run(({ session }) => session.get('cart')), { items: ['a', 'b'] })
})

test('parallel requests that set different keys both win', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('start', 1))
  const both = new Gate()
  let arrived = 0
  const setter = (key: string) => async (request: FastifyRequest) => {
    if (++arrived === 2) both.open()
    await both.opened
    request.session.set(key, key)
  }
  await Promise.all([run(setter('a')), run(setter('b'))])
  t.same(await run(({ session }) => session.keys().sort()), ['a', 'b', 'start'])
})

test('update is atomic even while its function awaits', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('counter', 0))
  await Promise.all(
    Array.from({ length: 50 }, () =>
      run(({ session }) =>
        session.update('counter', async (value) => {
          await new Promise((resolve) => setImmediate(resolve))
          return (value ?? 0) + 1
        })
      )
    )
  )
  t.equal(await run(({ session }) => session.get('counter')), 50)
})

test('update works on objects that change in place, and leaves the value when it throws', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('list', [] as string[]))
  await Promise.all(
    ['a', 'b', 'c'].map((item) =>
      run(({ session }) =>
        session.update<string[]>('list', async (list = []) => {
          await new Promise((resolve) => setImmediate(resolve))
          list.push(item)
          return list
        })
      )
    )
  )
  t.same((await run(({ session }) => session.get<string[]>('list')))?.sort(), ['a', 'b', 'c'])
  await run(async ({ session }) => {
    const failing = session.update('list', () => {
      throw new Error('no')
    })
    await t.rejects(failing, { message: 'no' })
    t.equal(session.get<string[]>('list')?.length, 3)
    // The turn was given back.
    await session.update('list', () => [])
  })
  t.same(await run(({ session }) => session.get('list')), [])
})

test('regenerate gives a new id, keeps what it is told to, and the old id is dead', async (t) => {
  const { run, who } = bind(await visitor(t))
  await run(({ session }) => {
    session.set('a', 1)
    session.set('b', 2)
  })
  const first = who.cookie
  const thief = who.another()
  thief.cookie = first

  await run(({ session }) => session.regenerate())
  t.not(who.cookie, first)
  t.same(await run(({ session }) => session.keys()), ['a', 'b'])
  t.equal(await thief.run(({ session }) => session.isNew), true)

  await run(({ session }) => session.regenerate({ keep: ['b'] }))
  t.same(await run(({ session }) => session.entries()), [['b', 2]])
  await run(({ session }) => session.regenerate({ keep: false }))
  t.same(await run(({ session }) => session.keys()), [])
})

test('a parallel save never brings a destroyed or renewed session back', async (t) => {
  for (const end of ['destroy', 'regenerate'] as const) {
    const { run, who } = bind(await visitor(t))
    await run(({ session }) => session.set('counter', 1))
    const old = who.cookie
    const parallel = who.another()
    parallel.cookie = old
    const ended = new Gate()
    const began = new Gate()
    await Promise.all([
      parallel.run(async ({ session }) => {
        t.equal(session.get('counter'), 1)
        began.open()
        await ended.opened
        t.ok(session.isDestroyed)
        t.equal(session.get('counter'), undefined, 'reads are empty at once')
        session.set('counter', 99)
      }),
      run(async ({ session }) => {
        await began.opened
        await session[end]()
        ended.open()
      })
    ])
    t.equal(parallel.cookie, old, 'no cookie for the one who came late')
    t.equal(await parallel.run(({ session }) => session.get('counter')), undefined, end)
    t.equal(await run(({ session }) => session.get('counter')), end === 'destroy' ? undefined : 1)
  }
})

test('destroy clears the cookie with the attributes it was set with', async (t) => {
  const app = await createApp(t, { cookie: { path: '/a', domain: 'example.com' } })
  app.get('/a/in', async (request) => request.session.set('counter', 1))
  // Not awaited: the response waits all the same.
  app.get('/a/out', async (request) => {
    request.session.destroy()
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(`${url}/a/in`)) ?? ''
  const response = await fetch(`${url}/a/out`, { headers: { cookie } })
  t.same(response.headers.getSetCookie(), [
    'id=; Max-Age=0; Path=/a; Domain=example.com; HttpOnly; SameSite=Lax'
  ])
  t.equal(await app.sessions.count(), 0)
})

test('a value set after destroy begins another session', async (t) => {
  const { run, who } = bind(await visitor(t))
  await run(({ session }) => session.set('counter', 1))
  const first = who.cookie
  await run(async ({ session }) => {
    session.destroy()
    session.set('fresh', true)
  })
  t.not(who.cookie, first)
  t.same(await run(({ session }) => session.entries()), [['fresh', true]])
})

test('over the size limit set throws and the stored session stays as it was', async (t) => {
  const { run } = bind(await visitor(t, { maxRecordSize: 1000 }))
  await run(({ session }) => session.set('a', 'x'.repeat(500)))
  await run(({ session }) => {
    t.throws(() => session.set('b', 'x'.repeat(500)), { code: 'SLED_SESSION_TOO_LARGE' })
    t.throws(() => session.set('c', 'é'.repeat(260)), { code: 'SLED_SESSION_TOO_LARGE' })
    t.notOk(session.has('b'))
    session.set('a', 'y'.repeat(900))
  })
  t.same(await run(({ session }) => session.entries()), [['a', 'y'.repeat(900)]])
})

test('a value that cannot be stored is refused at set, naming the key', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => {
    const circular: unknown[] = []
    circular.push(circular)
    for (const value of [() => {}, Symbol('s'), circular, { deep: [() => {}] }, new URL('a:b')]) {
      t.throws(() => session.set('profile', value), {
        code: 'SLED_SESSION_VALUE_NOT_STORABLE',
        message: /"profile"/
      })
    }
    t.ok(session.isNew)
    t.equal(session.size, 0)
  })
})

test('an object that became unstorable after get fails the request and stays as it was', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', { items: [1] }))
  await t.rejects(
    run(({ session }) => {
      const cart = session.get<Record<string, unknown>>('cart')
      if (cart !== undefined) cart.fn = () => {}
    }),
    { message: /SLED_SESSION_VALUE_NOT_STORABLE/ }
  )
  t.same(await run(({ session }) => session.get('cart')), { items: [1] })
})

test('times are told exactly', async (t) => {
  const clock = new TestClock()
  const { run } = bind(await visitor(t, { now: clock.now, sessionEndLimit: { hours: 1 } }))
  await run(({ session }) => {
    t.equal(session.createdAt, null)
    t.equal(session.expiresAt, null)
    t.equal(session.expiresIn, 0)
    session.set('counter', 1)
    t.same(session.createdAt, new Date(clock.time))
  })
  const created = clock.time
  clock.advance({ seconds: 30 })
  await run(({ session }) => {
    t.same(session.createdAt, new Date(created))
    t.same(session.lastSeenAt, new Date(clock.time))
    t.same(session.expiresAt, new Date(clock.time + 3_600_000))
    t.equal(session.expiresIn, 3_600_000)
  })
})

test('destroy, a value, and destroy again in one request clears the cookie', async (t) => {
  const { run, who } = bind(await visitor(t))
  await run(({ session }) => session.set('counter', 1))
  await run(async ({ session }) => {
    await session.destroy()
    session.set('counter', 2)
    await session.destroy()
  })
  t.equal(who.cookie, 'id=')
})

test('an expiry that is set after destroy begins another session', async (t) => {
  const clock = new TestClock()
  const { run, who } = bind(await visitor(t, { now: clock.now }))
  await run(({ session }) => session.set('counter', 1))
  const first = who.cookie
  await run(async ({ session }) => {
    await session.destroy()
    session.expiry = onInactivity({ seconds: 5 })
  })
  t.not(who.cookie, first)
  t.same(await run(({ session }) => [session.isNew, session.size, session.expiresIn]), [
    false,
    0,
    5000
  ])
})

test('regenerate twice in one request leaves one session, under the last id', async (t) => {
  const { run, who } = bind(await visitor(t))
  await run(({ session }) => session.set('counter', 1))
  const ids = await run(async ({ session, server }) => {
    const forgotten = session.regenerate()
    const { id } = session
    await session.regenerate()
    await forgotten
    return { first: id, second: session.id, server }
  })
  t.equal(who.cookie, `id=${ids.second}`)
  t.equal(await run(({ session }) => session.get('counter')), 1)
  t.equal(await ids.server.sessions.load(`id=${ids.first}`), null)
  t.equal(await ids.server.sessions.count(), 1)
})

test('reload drops a principal, metadata and an expiry that were not saved', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.setPrincipal('ann', { metadata: 'phone' }))
  await run(async ({ session }) => {
    await session.setPrincipal('bob', { renew: false, metadata: 'laptop' })
    session.expiry = onInactivity(5000)
    await session.reload()
    t.same([session.principal, session.metadata, session.expiry], ['ann', 'phone', onSessionEnd()])
  })
  t.equal(await run(({ session }) => session.principal), 'ann')
})

test('wrong arguments are refused and change nothing', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', 1))
  await run(async ({ session }) => {
    for (const keep of ['cart', null, 5, {}, [5]]) {
      await t.rejects(async () => session.regenerate({ keep: keep as unknown as boolean }), {
        code: 'SLED_SESSION_INVALID_OPTION',
        message: /"keep"/
      })
    }
    const loose = session as unknown as Record<string, (...given: unknown[]) => Promise<void>>
    const mistaken = { code: 'SLED_SESSION_INVALID_OPTION' }
    for (const given of [{ keeps: false }, false, 'cart', null]) {
      await t.rejects(async () => loose.regenerate?.(given), mistaken)
      await t.rejects(async () => loose.setPrincipal?.('ann', given), mistaken)
    }
    await t.rejects(async () => loose.setPrincipal?.('ann', { renew: 'no' }), mistaken)
    t.equal(session.principal, null)
    for (const key of [5, null, undefined, {}, Symbol('s')] as unknown as string[]) {
      const refused = { code: 'SLED_SESSION_VALUE_NOT_STORABLE', message: /key.*string/ }
      t.throws(() => session.set(key, 1), refused)
      await t.rejects(
        session.update(key, () => 1),
        refused
      )
      t.equal(session.get(key), undefined)
      t.equal(session.delete(key), false)
    }
    t.notOk(session.isModified)
  })
  t.same(await run(({ session }) => session.entries()), [['cart', 1]])
})

test('an expiry that would never come, or is none, is refused and changes nothing', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('counter', 1))
  await run(({ session }) => {
    const before = session.expiresAt
    const wrong: unknown[] = [
      5,
      null,
      undefined,
      {},
      { kind: 'never' },
      { kind: 'inactivity' },
      { kind: 'inactivity', milliseconds: Number.NaN },
      { kind: 'inactivity', milliseconds: -1 },
      { kind: 'inactivity', milliseconds: '5' },
      { kind: 'inactivity', milliseconds: Number.POSITIVE_INFINITY },
      { kind: 'date-time', at: Number.NaN },
      { kind: 'date-time', at: '2026-01-01' },
      { kind: 'date-time', at: Number.POSITIVE_INFINITY }
    ]
    for (const expiry of wrong) {
      t.throws(
        () => {
          session.expiry = expiry as Expiry
        },
        { code: 'SLED_SESSION_INVALID_EXPIRY' },
        JSON.stringify(expiry)
      )
    }
    for (const date of [new Date(Number.NaN), '2026-01-01', 5, null]) {
      t.throws(() => atDateTime(date as Date), { code: 'SLED_SESSION_INVALID_EXPIRY' })
    }
    for (const duration of [0, -1, Number.NaN, {}, { weeks: 1 }, null, '5', { seconds: '5' }]) {
      t.throws(() => onInactivity(duration as number), { code: 'SLED_SESSION_INVALID_EXPIRY' })
    }
    t.same(session.expiresAt, before)
    t.notOk(session.isModified)
  })
})

test('a session that another request has ended tells nothing of itself', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.setPrincipal('ann', { metadata: 'phone' }))
  await run(async ({ session, server }) => {
    await server.sessions.revokeAll('ann')
    t.same(
      [session.isDestroyed, session.principal, session.metadata, session.size],
      [true, null, undefined, 0]
    )
  })
})
