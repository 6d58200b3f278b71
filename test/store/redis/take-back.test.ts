import type { Test } from 'tap'
import { SWAP } from '../../../lib/store/redis/scripts.js'
import { settles } from '../../../scripts/servers/until.js'
import { Gate } from '../../support/gate.js'
import { testWith } from '../../support/needs.js'
import { begin, clientFor, createRedisApp, redisFor } from '../../support/redis-app.js'

const test = testWith('redis-server')

type Run = () => Promise<unknown>

/** What becomes of a command; `number` counts from the renewal on. */
type Fate = (args: string[], run: Run, number: number) => Promise<unknown>

const NO_REPLY = new Error('the connection is lost')

async function lose(run: Run): Promise<never> {
  await run()
  throw NO_REPLY
}

/**
 * A visitor whose renewal the server has made, and the reply to that was lost; and another process.
 *
 * @param fate of what the process sends from then on
 */
async function lostRenewal(t: Test, fate: Fate) {
  const real = await clientFor(t, await redisFor(t))
  await real.sendCommand(['SCRIPT', 'LOAD', SWAP.text])
  let sent = -1
  let lost: string[] = []
  const client = {
    isReady: true,
    async sendCommand(args: string[]): Promise<unknown> {
      const run = () => real.sendCommand(args)
      if (sent >= 0) return fate(args, run, ++sent)
      if (args[1] !== SWAP.sha) return run()
      sent = 0
      lost = args
      return lose(run)
    }
  }
  const app = await createRedisApp(t, { client })
  app.get('/renew', async ({ session }) => session.regenerate())
  const other = await createRedisApp(t, { client: real })
  other.get('/', async ({ session }) => ({ counter: session.get('counter') ?? null }))
  const { id, handle } = await begin(app, async (session) => {
    await session.setPrincipal('ann', { metadata: 'phone' })
    session.set('counter', 1)
  })
  const see = async () => (await other.inject({ url: '/', cookies: { id } })).json().counter
  const renew = async () => {
    t.equal((await app.inject({ url: '/renew', cookies: { id } })).statusCode, 503)
  }
  /** The handle that the session went to. */
  const fresh = async () => String(await real.get(`session:{${handle}}`)).slice(1)
  const again = () => real.sendCommand(lost)
  /** Until it is known how the renewal has ended. */
  const settled = () =>
    settles(() =>
      app.sessions.get(handle).then(
        () => true,
        () => false
      )
    )
  return { app, other, handle, see, renew, settled, fresh, again }
}

test('a renewal is taken back though any of its replies is lost, or comes of a second try', async (t) => {
  for (const [name, fateOf] of Object.entries({
    lost: (run: Run) => lose(run),
    'of a second try': async (run: Run) => {
      await run()
      return run()
    }
  })) {
    for (let which = 1; which < 8; which++) {
      const fate: Fate = (_args, run, number) => (number === which ? fateOf(run) : run())
      const { other, see, renew, settled } = await lostRenewal(t, fate)
      await renew()
      await settled()
      t.equal(await see(), 1, `reply ${which} is ${name}`)
      await settles(async () => (await other.sessions.count()) === 1)
      t.equal((await other.sessions.list('ann')).length, 1)
    }
  }
})

test('a session that ended while its renewal was in doubt stays so, whatever is lost', async (t) => {
  for (let which = 1; which < 8; which++) {
    let ended = false
    const seen: unknown[] = []
    const place = await lostRenewal(t, async (_args, run, number) => {
      if (!ended) {
        ended = true
        t.equal(await place.other.sessions.revoke(await place.fresh()), true)
      }
      const reply = await run()
      seen.push(await place.see())
      if (number === which) throw NO_REPLY
      return reply
    })
    await place.renew()
    await place.settled()
    t.same([...new Set(seen)], [null], 'it answers at no moment in between')
    t.equal(await place.see(), null)
    t.equal(await place.other.sessions.count('ann'), 0)
  }
})

test('a logout ends a session whose renewal is being taken back, at every step of that', async (t) => {
  for (let which = 1; which < 8; which++) {
    const held = new Gate()
    const go = new Gate()
    const place = await lostRenewal(t, async (_args, run, number) => {
      if (number !== which) return run()
      held.open()
      await go.opened
      return run()
    })
    const leaving = await place.other.sessions.get(place.handle)
    await place.renew()
    const settled = place.settled()
    await Promise.race([held.opened, settled])
    await leaving?.destroy()
    go.open()
    await settled
    t.equal(await place.see(), null, `before command ${which}`)
    t.equal(await place.app.sessions.get(place.handle), null)
    t.equal(await place.other.sessions.count('ann'), 0)
  }
})

test('what another process has changed after a renewal is there when that is taken back', async (t) => {
  for (let which = 1; which < 8; which++) {
    const go = new Gate()
    let updating: Promise<boolean> | undefined
    const place = await lostRenewal(t, async (_args, run, number) => {
      if (number === which) {
        go.open()
        await updating
      }
      return run()
    })
    const loaded = new Gate()
    updating = place.other.sessions.update(place.handle, async (session) => {
      loaded.open()
      await go.opened
      session.set('counter', 2)
      session.metadata = 'tablet'
    })
    await loaded.opened
    await place.renew()
    await place.settled()
    const updated = await updating
    t.equal(await place.see(), updated ? 2 : 1, `before command ${which}`)
    const [info] = await place.other.sessions.list('ann')
    t.equal(info?.metadata, updated ? 'tablet' : 'phone')
    if (which < 4) t.ok(updated, 'it finds the session')
  }
})

test('a renewal that comes about late, while it is being taken back, costs nobody the session', async (t) => {
  for (let which = 1; which < 6; which++) {
    const place = await lostRenewal(t, async (_args, run, number) => {
      if (number === which) await place.again()
      return run()
    })
    await place.renew()
    await place.settled()
    t.equal(await place.see(), 1, `before command ${which}`)
  }
})
