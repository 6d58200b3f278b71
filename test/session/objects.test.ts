import { test } from 'tap'
import { until } from '../../scripts/servers/until.js'
import { addCounter, cookieOf, createApp, listen } from '../support/app.js'
import { bind, visitor } from '../support/visitor.js'

type Cart = { items: string[] }

test('an update whose function throws leaves the value, even one that it changed in place', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', { items: ['a'] }))
  await run(async ({ session }) => {
    const failing = session.update<Cart>('cart', (cart = { items: [] }) => {
      cart.items.push('b')
      throw new Error('no')
    })
    await t.rejects(failing, { message: 'no' })
    t.same(session.get('cart'), { items: ['a'] })
  })
  t.same(await run(({ session }) => session.get('cart')), { items: ['a'] })
})

test('an object from before a failed update is still saved when it changes', async (t) => {
  const { run } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', { items: ['a'] }))
  await run(async ({ session }) => {
    const cart = session.get<Cart>('cart')
    await t.rejects(
      session.update('cart', () => {
        throw new Error('no')
      })
    )
    cart?.items.push('b')
  })
  t.same(await run(({ session }) => session.get('cart')), { items: ['a', 'b'] })
})

for (const renew of ['regenerate', 'setPrincipal'] as const) {
  test(`an object from before ${renew} is still saved when it changes`, async (t) => {
    const { run } = bind(await visitor(t))
    await run(({ session }) => {
      session.set('cart', { items: ['a'] })
      session.set('wishes', { items: [] })
    })
    await run(async ({ session }) => {
      const cart = session.get<Cart>('cart')
      const wishes = session.get<Cart>('wishes')
      if (renew === 'setPrincipal') await session.setPrincipal('ann')
      else await session.regenerate({ keep: ['cart'] })
      cart?.items.push('b')
      wishes?.items.push('c')
    })
    t.same(await run(({ session }) => session.get('cart')), { items: ['a', 'b'] })
    t.same(
      await run(({ session }) => session.get('wishes')),
      renew === 'setPrincipal' ? { items: ['c'] } : undefined,
      'and one that was not kept is not'
    )
  })
}

test('what is changed in place while the response is on its way is saved', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  app.get('/set', async ({ session }) => session.set('cart', { items: ['a'] }))
  app.get('/late', (request, reply) => {
    const cart = request.session.get<Cart>('cart')
    reply.hijack()
    reply.raw.write('first')
    setImmediate(() => {
      cart?.items.push('b')
      reply.raw.end()
    })
  })
  app.get('/sent', (request, reply) => {
    const cart = request.session.get<Cart>('cart')
    reply.raw.once('finish', () => cart?.items.push('c'))
    reply.send('sent')
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(`${url}/set`)) ?? ''
  const headers = { cookie }
  const handle = (await app.sessions.load(cookie))?.handle ?? ''
  const items = async () => (await app.sessions.get(handle))?.get<Cart>('cart')?.items.join('')
  await (await fetch(`${url}/late`, { headers })).text()
  await until(async () => (await items()) === 'ab')
  await (await fetch(`${url}/sent`, { headers })).text()
  await until(async () => (await items()) === 'abc')
  t.pass('both are there')
})

test('a request gets what others have set in place of an object that it did not change', async (t) => {
  const { run, who } = bind(await visitor(t))
  await run(({ session }) => session.set('cart', { items: ['a'] }))
  const other = who.another()
  other.cookie = who.cookie
  await run(async ({ session }) => {
    session.get('cart')
    await other.run(({ session }) => session.set('cart', { items: ['b'] }))
  })
  t.same(await run(({ session }) => session.get('cart')), { items: ['b'] }, 'nor does it undo that')
})
