import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'
import { type SledSessionOptions, sledSession } from '../../lib/index.js'

declare module '../../lib/index.js' {
  interface SessionData {
    counter: number
  }
}

/** A folder of its own for one test, removed after it. */
export async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sled session é '))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** A clock that stands still until a test moves it. */
export class TestClock {
  time = Date.UTC(2026, 0, 1)
  readonly now = (): number => this.time

  advance({ seconds = 0, milliseconds = 0 }: { seconds?: number; milliseconds?: number }): void {
    this.time += seconds * 1000 + milliseconds
  }
}

/** An application with the plugin on a fresh database and no reaper of its own, closed after the test. */
export async function createApp(
  t: Test,
  options: SledSessionOptions = {},
  server: FastifyServerOptions = {}
): Promise<FastifyInstance> {
  const app = Fastify(server)
  t.teardown(() => app.close())
  const place =
    options.path === undefined && options.db === undefined && options.store === undefined
      ? { path: await temporaryFolder(t) }
      : {}
  await app.register(sledSession, { secure: false, reapInterval: false, ...place, ...options })
  return app
}

/** The counter of the README on `/`. */
export function addCounter(app: FastifyInstance): void {
  app.get('/', async (request) => {
    const counter = request.session.get('counter') ?? 0
    request.session.set('counter', counter + 1)
    return `Current count: ${counter}`
  })
}

/** Starts to listen on a free port; resolves to the base URL. */
export function listen(app: FastifyInstance): Promise<string> {
  return app.listen({ host: '127.0.0.1', port: 0 })
}

/** The `name=value` of the first cookie that a response sets, or `undefined`. */
export function cookieOf(response: Response): string | undefined {
  return response.headers.getSetCookie()[0]?.split(';')[0]
}
