import Fastify from 'fastify'
import sledSession from 'fastify-sled-session'
// @ts-expect-error it comes without types
import RocksDB from 'rocksdb-native'

const { PORT = '3000', STORAGE = './application' } = process.env

// The application opens the database, with a column family for the sessions and one of its own.
const db = new RocksDB(STORAGE, { columnFamilies: ['session', 'notes'] })
await db.ready()
const notes = db.columnFamily('notes', { encoding: 'utf8' })

const fastify = Fastify({ logger: true, bodyLimit: 10_000 })

await fastify.register(sledSession, { db, secure: 'auto' })

// What was opened here is closed here, after the sessions, which were registered later.
fastify.addHook('onClose', async () => {
  await notes.close()
  await db.close()
})

fastify.put<{ Body: string }>('/note', async ({ body, session }) => {
  // Notes outlive the session, so they have a key of their own.
  if (!session.has('note')) session.set('note', crypto.randomUUID())
  await notes.put(session.get<string>('note'), String(body))
  return 'kept'
})

fastify.get('/note', async ({ session }, reply) => {
  const key = session.get<string>('note')
  const note = key === undefined ? null : await notes.get(key)
  return note === null ? reply.code(404).send('You have left no note.') : String(note)
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => fastify.close())
}

const address = await fastify.listen({ host: '127.0.0.1', port: Number(PORT) })
console.log(
  `\nTry it:  curl -b /tmp/jar -c /tmp/jar -T README.md -H 'Content-Type: text/plain' ${address}/note\n`
)
