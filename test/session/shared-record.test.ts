import type { FastifyInstance } from 'fastify'
import { type Test, test } from 'tap'
import type { Session } from '../../lib/index.js'
import { cookieOf, createApp, listen } from '../support/app.js'

/** An application whose cache holds a handful of records, so that idle ones leave it at once. */
async function crowded(t: Test): Promise<{
  app: FastifyInstance
  cookie: string
  detached: Session
  read: () => Promise<string>
  crowd: () => Promise<void>
}> {
  const app = await createApp(t, { memory: 1024 * 1024 })
  app.get('/fill', async ({ session }) => session.set('filler', 'x'.repeat(40_000)))
  app.get('/set/:value', async ({ session, params }) =>
    session.set('value', (params as { value: string }).value)
  )
  app.get('/read', async ({ session }) => `${session.get('value')}`)
  const url = await listen(app)
  const cookie = cookieOf(await fetch(`${url}/set/first`)) ?? ''
  const detached = await app.sessions.load(cookie)
  if (detached === null) throw new Error('no session')
  const read = async () => (await fetch(`${url}/read`, { headers: { cookie } })).text()
  const crowd = async () => {
    for (let visitor = 0; visitor < 40; visitor++) await fetch(`${url}/fill`)
  }
  return { app, cookie, detached, read, crowd }
}

for (const end of ['destroy', 'regenerate'] as const) {
  test(`${end} by whoever kept a session ends it, whatever the cache did meanwhile`, async (t) => {
    const { app, cookie, detached, read, crowd } = await crowded(t)
    await crowd()
    t.equal(await read(), 'first')
    await detached[end]()
    t.equal(await read(), 'undefined')
    await app.sessions.load(cookie)
    await crowd()
    t.equal(await read(), 'undefined', 'nor does it come back')
    await app.close()
  })
}

test('whoever kept a session sees what became of it, whatever the cache did meanwhile', async (t) => {
  const { app, cookie, detached, read, crowd } = await crowded(t)
  await crowd()
  t.equal(await read(), 'first')
  const other = await app.sessions.load(cookie)
  other?.set('value', 'second')
  await other?.save()
  t.equal(detached.get('value'), 'second')
  await crowd()
  t.equal(await app.sessions.revoke(detached.handle ?? ''), true)
  t.equal(detached.isDestroyed, true)
  t.equal(detached.get('value'), undefined)
  await app.close()
})
