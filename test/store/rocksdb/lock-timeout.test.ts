import Fastify, { type FastifyInstance } from 'fastify'
import { type Test, test } from 'tap'
import { type SledSessionOptions, sledSession } from '../../../lib/index.js'
import { until } from '../../../scripts/servers/until.js'
import { addCounter, temporaryFolder } from '../../support/app.js'
import { startChild } from '../../support/child.js'

interface Line {
  readonly msg: string
  readonly holder?: number
}

/** An application that is about to open a database, and what it logs. */
function createApp(t: Test, options: SledSessionOptions): { app: FastifyInstance; lines: Line[] } {
  const lines: Line[] = []
  const stream = { write: (line: string) => void lines.push(JSON.parse(line)) }
  const app = Fastify({ logger: { level: 'info', stream } })
  t.teardown(() => app.close())
  app.register(sledSession, { secure: false, ...options })
  addCounter(app)
  return { app, lines }
}

async function startHolder(t: Test, path: string): Promise<ReturnType<typeof startChild>> {
  const holder = startChild(t, 'test/fixtures/server.ts', { STORAGE: path })
  await holder.line(/listening/)
  return holder
}

const WAITING = /another process.* holds the session database; waiting up to/

test('a new process waits for the old one to let go, and says so at once', async (t) => {
  const path = await temporaryFolder(t)
  const holder = await startHolder(t, path)
  const { app, lines } = createApp(t, { path, lockTimeout: { seconds: 9 } })
  const ready = app.ready()
  await until(() => lines.some(({ msg }) => WAITING.test(msg)))
  if (process.platform === 'linux') {
    t.equal(lines.find(({ msg }) => WAITING.test(msg))?.holder, holder.process.pid)
  }
  await holder.stop('SIGTERM')
  await ready
  t.equal((await app.inject('/')).statusCode, 200)
  t.ok(lines.some(({ msg }) => /was let go of/.test(msg)))
  t.equal(lines.filter(({ msg }) => WAITING.test(msg)).length, 1)
})

test('after its time it fails, and says who holds the database', async (t) => {
  const path = await temporaryFolder(t)
  await startHolder(t, path)
  const start = performance.now()
  const { app } = createApp(t, { path, lockTimeout: 300 })
  await t.rejects(async () => app.ready(), {
    code: 'SLED_SESSION_DATABASE_LOCKED',
    message: /held by another process.*stop it first/
  })
  t.ok(performance.now() - start >= 300)
})

test('with 0 it does not wait', async (t) => {
  const path = await temporaryFolder(t)
  await startHolder(t, path)
  const { app, lines } = createApp(t, { path, lockTimeout: 0 })
  await t.rejects(async () => app.ready(), { code: 'SLED_SESSION_DATABASE_LOCKED' })
  t.notOk(lines.some(({ msg }) => WAITING.test(msg)))
})
