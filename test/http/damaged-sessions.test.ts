import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { createApp, temporaryFolder } from '../support/app.js'
import { flipBlockOf } from '../support/damage.js'
import { withDatabase } from '../support/rocksdb.js'

test('a logout everywhere ends what cannot be read, too', async (t) => {
  const path = await temporaryFolder(t)
  const filling = await createApp(t, { path })
  filling.get('/login', async (request) => {
    await request.session.setPrincipal('ann')
    request.session.set('text', randomBytes(400).toString('hex'))
    return request.session.handle
  })
  const visitors: { handle: string; cookie: string }[] = []
  for (let at = 0; at < 60; at++) {
    const response = await filling.inject('/login')
    const cookie = String(response.headers['set-cookie']).split(';')[0] ?? ''
    visitors.push({ handle: response.body, cookie })
  }
  await filling.close()
  await withDatabase(path, async () => {})
  const sorted = visitors.map(({ handle }) => handle).sort()
  await flipBlockOf(path, sorted[30] ?? '', 'record')

  const app = await createApp(t, { path })
  app.get('/who', async (request) => request.session.principal)
  const ask = async ({ cookie }: { cookie: string }) =>
    (await app.inject({ url: '/who', headers: { cookie } })).statusCode
  const before = await Promise.all(visitors.map(ask))
  const lost = visitors.filter((_, at) => before[at] === 503)
  t.ok(lost.length > 1 && lost.length < 60, `${lost.length} of 60 cannot be read`)
  t.equal((await app.sessions.list('ann')).length, 60 - lost.length)

  const [one] = lost as [{ handle: string; cookie: string }]
  t.equal(await app.sessions.revoke(one.handle, { principal: 'bob' }), false)
  t.equal(await app.sessions.revoke(one.handle, { principal: 'ann' }), true)
  t.equal(await ask(one), 200, 'a stranger from here on')
  t.equal(await app.sessions.revokeAll('ann'), 59)
  for (const visitor of visitors) t.equal(await ask(visitor), 200)
  t.same(await app.sessions.list('ann'), [])
})
