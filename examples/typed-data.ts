import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify from 'fastify'
import sledSession from 'fastify-sled-session'

/** What a visitor has chosen; comes back from the session as it went in, the Date too. */
interface Order {
  items: { article: string; amount: number }[]
  changedAt: Date
}

declare module 'fastify-sled-session' {
  interface SessionData {
    order: Order
  }
}

const { PORT = '3000', STORAGE = './storage' } = process.env

const fastify = Fastify({ logger: true }).withTypeProvider<TypeBoxTypeProvider>()

await fastify.register(sledSession, { path: STORAGE, secure: 'auto' })

const Item = Type.Object({
  article: Type.String({ maxLength: 100 }),
  amount: Type.Integer({ minimum: 1, maximum: 100 })
})

// An update is atomic: of two items that are added at the same time, none is lost.
fastify.post('/order', { schema: { body: Item } }, async ({ body, session }) =>
  session.update('order', (order) => ({
    items: [...(order?.items ?? []), body],
    changedAt: new Date()
  }))
)

fastify.get('/order', async ({ session }) => {
  const order = session.get('order')
  return { items: order?.items ?? [], changed: order?.changedAt.getFullYear() ?? null }
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => fastify.close())
}

const address = await fastify.listen({ host: '127.0.0.1', port: Number(PORT) })
console.log(
  `\nTry it:  curl -b /tmp/jar -c /tmp/jar --json '{"article":"tea","amount":2}' ${address}/order\n`
)
