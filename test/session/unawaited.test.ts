import { type Test, test } from 'tap'
import type { Session } from '../../lib/index.js'
import { createApp } from '../support/app.js'

type Slip = (session: Session) => unknown

/** What a request is answered with whose handler does this; `again` is asked as the same visitor. */
async function answer(t: Test, slip: Slip) {
  const app = await createApp(t)
  app.get('/begin', async ({ session }) => {
    session.set('kept', 1)
  })
  app.get('/slip', async ({ session }) => {
    await slip(session)
    return 'done'
  })
  app.get('/look', async ({ session }) => session.entries())
  const cookies = { id: (await app.inject('/begin')).cookies[0]?.value ?? '' }
  const response = await app.inject({ url: '/slip', cookies })
  const look = await app.inject({ url: '/look', cookies })
  return { status: response.statusCode, code: response.json().code, kept: look.json() }
}

const REJECTED: [name: string, code: string, slip: Slip][] = [
  ['a principal', 'SLED_SESSION_INVALID_PRINCIPAL', (session) => session.setPrincipal('')],
  [
    'metadata',
    'SLED_SESSION_TOO_LARGE',
    (session) => session.setPrincipal('ann', { metadata: 'x'.repeat(5000) })
  ],
  [
    'keep of a login',
    'SLED_SESSION_INVALID_OPTION',
    (session) => session.setPrincipal('ann', { keep: 5 as unknown as boolean })
  ],
  [
    'keep of a renewal',
    'SLED_SESSION_INVALID_OPTION',
    (session) => session.regenerate({ keep: 'cart' as unknown as boolean })
  ],
  [
    'an update',
    'SLED_SESSION_TOO_LARGE',
    (session) => session.update('big', () => 'x'.repeat(70_000))
  ],
  [
    'a key',
    'SLED_SESSION_VALUE_NOT_STORABLE',
    (session) => session.update(5 as unknown as string, () => 1)
  ]
]

for (const [name, code, slip] of REJECTED) {
  test(`${name} that is wrong, and not awaited, fails the response and nothing else`, async (t) => {
    const { status, code: answered, kept } = await answer(t, (session) => void slip(session))
    t.equal(status, 500)
    t.equal(answered, code)
    t.same(kept, [['kept', 1]])
  })

  test(`${name} that is wrong, and handled, is the handler's affair`, async (t) => {
    let caught: unknown
    const app = await createApp(t)
    app.get('/', async ({ session }) => {
      const slipped = slip(session) as Promise<void>
      await new Promise((resolve) => setImmediate(resolve))
      await slipped.catch((error: { code: string }) => {
        caught = error.code
      })
      return 'done'
    })
    t.equal((await app.inject('/')).body, 'done')
    t.equal(caught, code)
  })
}

test('what fails outside a response, and is not awaited, is logged', async (t) => {
  const lines: string[] = []
  const logger = { level: 'error', stream: { write: (line: string) => void lines.push(line) } }
  const app = await createApp(t, {}, { logger })
  app.get('/', async ({ session }) => {
    session.set('a', 1)
    return session.handle
  })
  const { body: handle } = await app.inject('/')
  const session = await app.sessions.get(handle)
  void session?.update('a', () => 'x'.repeat(70_000))
  await t.rejects(session?.setPrincipal('') ?? Promise.resolve(), {
    code: 'SLED_SESSION_INVALID_PRINCIPAL'
  })
  await app.close()
  t.equal(lines.length, 1, 'what was awaited is not')
  t.match(JSON.parse(lines[0] ?? ''), { err: { code: 'SLED_SESSION_TOO_LARGE' } })
})
