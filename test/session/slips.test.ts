import { test } from 'tap'
import { MemoryStore, onInactivity } from '../../lib/index.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import { BackgroundSaves } from '../../lib/session/background-saves.js'
import { Session as SessionClass } from '../../lib/session/session.js'
import { Touches } from '../../lib/session/touches.js'
import { Turnstile } from '../../lib/session/turnstile.js'
import { UnitOfWork } from '../../lib/session/unit-of-work.js'
import { GuardedStore } from '../../lib/store/guarded-store.js'
import { createApp, temporaryFolder } from '../support/app.js'
import { bind, visitor } from '../support/visitor.js'

type Loose = Record<string, unknown>

test('a value as a property of the session is refused at once, saying set', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => {
    const loose = session as unknown as Loose
    const refused = { code: 'SLED_SESSION_MISUSE', message: /session\.user .*session\.set\("user"/ }
    t.throws(() => {
      loose.user = 'ann'
    }, refused)
    t.throws(() => Object.assign(session, { user: 'ann' }), refused)
    t.throws(() => Reflect.set(session, 'user', 'ann'), refused)
    for (const name of ['id', 'principal', 'size', 'expiresIn', 'isNew', 'authenticatedAt']) {
      // Without strict mode, which plain CommonJS has not, this would be silent.
      const assign = new Function('session', `session.${name} = 'x'`)
      t.throws(() => assign(session), { code: 'SLED_SESSION_MISUSE', message: name })
    }
    t.equal(session.isModified, false)
    const note = Symbol('a note of a library')
    Object.assign(session, { [note]: 1 })
    t.equal((session as unknown as Record<symbol, unknown>)[note], 1)
    t.equal(loose.user, undefined)
  })
})

test('an assignment to request.session is refused: it would log nobody out', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.setPrincipal('ann'))
  await run((request) => {
    const refused = {
      code: 'SLED_SESSION_MISUSE',
      message: /request\.session .*session\.destroy\(\)/
    }
    // Without strict mode, which plain CommonJS has not, this would be silent.
    for (const value of ['null', 'undefined', '{ user: "bob" }']) {
      t.throws(() => new Function('request', `request.session = ${value}`)(request), refused)
    }
    t.equal(request.session.principal, 'ann')
  })
})

test('callbacks are refused, as nobody would call them', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => {
    session.set('cart', 1)
    const loose = session as unknown as Record<string, (...given: unknown[]) => unknown>
    const callback = () => {}
    const refused = { code: 'SLED_SESSION_MISUSE', message: /takes no callback: await/ }
    for (const method of ['destroy', 'save', 'reload', 'regenerate']) {
      t.throws(() => loose[method]?.(callback), refused, method)
    }
    t.throws(() => loose.regenerate?.(['cart'], callback), refused)
    t.throws(() => loose.setPrincipal?.('ann', callback), refused)
    t.throws(() => loose.setPrincipal?.('ann', {}, callback), refused)
    t.equal(session.get('cart'), 1)
    t.equal(session.principal, null)
  })
})

/** A session outside of any application, whose updates wait no longer than this. */
function sessionWith(maxWait: number): SessionClass {
  const store = new GuardedStore(new MemoryStore())
  const id = createSessionId()
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  const registration = {
    ...{
      sessionName: 'session',
      store,
      log,
      warnOnce() {},
      now: Date.now,
      expiry: onInactivity(1000)
    },
    ...{ rolling: true, alwaysSave: false, touchInterval: null, maxRecordSize: 1000 },
    ...{ sessionEndLimit: 1000, absoluteTimeout: null, background: new BackgroundSaves() },
    touches: new Touches({ sessionName: 'session', store, log, now: Date.now }),
    updates: new Turnstile({ maxQueue: Number.POSITIVE_INFINITY, maxWait }),
    turns: new Turnstile()
  }
  const record = store.create({
    handle: handleOf(id),
    createdAt: Date.now(),
    lastSeenAt: Date.now(),
    expiresAt: Date.now() + 1000
  })
  return new SessionClass(new UnitOfWork(registration, record, id, 'none'))
}

test('an update inside an update of the same key is refused, and the outer one gives the turn back', async (t) => {
  const session = sessionWith(5)
  const nested = session.update('counter', async () => {
    await session.update('counter', () => 1)
    return 2
  })
  await t.rejects(nested, { code: 'SLED_SESSION_BUSY', statusCode: 503 })
  t.equal(await session.update('counter', (counter = 0) => counter + 1), 1)
})

test('an update whose function never ends does not hold others for ever', async (t) => {
  const session = sessionWith(5)
  void session.update('counter', () => new Promise<number>(() => {}))
  await t.rejects(
    session.update('counter', () => 1),
    { code: 'SLED_SESSION_BUSY' }
  )
  t.equal(await session.update<number>('other', () => 1), 1)
})

test('close stores what sessions outside a request have set', async (t) => {
  const path = await temporaryFolder(t)
  const first = await createApp(t, { path })
  first.get('/', async ({ session }) => {
    session.set('plan', 'free')
    return session.handle
  })
  const { body: handle } = await first.inject('/')
  ;(await first.sessions.get(handle))?.set('plan', 'pro')
  await first.close()
  const second = await createApp(t, { path })
  await second.ready()
  t.equal((await second.sessions.get(handle))?.get('plan'), 'pro')
})
