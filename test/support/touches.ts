import type { FastifyInstance } from 'fastify'
import { onInactivity, openSessionStore, type SessionRecord } from '../../lib/index.js'

/** What is stored of a session's times, past the application. */
export interface Stored {
  seen: number
  ends: number
}

export async function readFrom(path: string, handle: string): Promise<Stored | null> {
  const store = await openSessionStore(path, { readOnly: true })
  try {
    return timesOf(await store.read(handle))
  } finally {
    await store.close()
  }
}

export function timesOf(record: SessionRecord | null): Stored | null {
  return record === null ? null : { seen: record.lastSeenAt, ends: record.expiresAt }
}

export function serve(app: FastifyInstance) {
  app.get('/read', async ({ session }) => String(session.get('counter')))
  app.get('/look', async () => 'hello')
  app.get('/set', async ({ session }) => session.set('counter', 2))
  app.get('/long', async ({ session }) => {
    session.expiry = onInactivity({ days: 30 })
  })
  app.get('/renew', async ({ session }) => session.regenerate())
  return async (path: string, cookie: string) => {
    const { statusCode, headers, body } = await app.inject({ url: path, headers: { cookie } })
    const set = headers['set-cookie']?.toString() ?? ''
    return { status: statusCode, body, set, cookie: set.split(';')[0] ?? '' }
  }
}

export async function begin(app: FastifyInstance) {
  const session = await app.sessions.create({ principal: 'ann', data: { counter: 1 } })
  const [cookie = ''] = app.sessions.cookieOf(session).split(';')
  return { cookie, handle: session.handle ?? '' }
}

/** All that was planned has been stored, or left out. */
export async function settle(app: FastifyInstance): Promise<void> {
  for await (const _ of app.sessions.export());
}
