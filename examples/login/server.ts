import { createApp } from './app.js'
import { Users } from './users.js'

const { PORT = '3000', STORAGE = './storage' } = process.env

const users = new Users()
await users.add('ann', 'correct horse battery staple')

const fastify = await createApp(users, { path: STORAGE }, { logger: true })

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => fastify.close())
}

const address = await fastify.listen({ host: '127.0.0.1', port: Number(PORT) })
// Browsers take a Secure cookie over plain http from localhost alone.
console.log(`\nOpen ${address.replace('127.0.0.1', 'localhost')} and log in as ann,`)
console.log('with the password: correct horse battery staple\n')
