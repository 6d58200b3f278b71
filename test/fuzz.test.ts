import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import fc from 'fast-check'
import { type Test, test } from 'tap'
import type { CookieOptions } from '../lib/index.js'
import { createSessionId } from '../lib/record/id.js'
import { createApp, listen, temporaryFolder } from './support/app.js'
import { openApplicationDatabase } from './support/rocksdb.js'

const HEADERS_PER_FORM = 34_000
const AT_A_TIME = 500

const idLike = fc.oneof(
  fc.string({ unit: 'binary-ascii', maxLength: 100 }),
  fc.base64String({ maxLength: 130 }),
  fc.string({ unit: fc.constantFrom(...'ABCxyz019-_.'), minLength: 40, maxLength: 90 }),
  fc.constantFrom('', '""', '"', '.', 'null', '__proto__', '%00', '%ZZ', 'j:{}', 's:x.y')
)
const pair = fc.oneof(
  idLike.map((value) => `id=${value}`),
  idLike.map((value) => `id="${value}"`),
  fc.tuple(idLike, idLike).map(([name, value]) => `${name}=${value}`),
  fc.constantFrom('id', 'id ', '=', ';', '__proto__=1', 'ID=1', 'id==', ' id = ', '\t')
)
const anyHeader = fc
  .array(pair, { maxLength: 6 })
  .chain((pairs) => fc.constantFrom('; ', ';', ' ;', ',').map((join) => pairs.join(join)))

const forms: [string, CookieOptions][] = [
  ['plain', {}],
  ['signed', { signed: [randomBytes(32), randomBytes(32)] }],
  ['encrypted', { encrypted: [randomBytes(32), randomBytes(32)] }]
]

function watchRejections(t: Test): unknown[] {
  const unhandled: unknown[] = []
  const note = (reason: unknown): void => {
    unhandled.push(reason)
  }
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  return unhandled
}

for (const [form, cookie] of forms) {
  test(`${form}: of ${HEADERS_PER_FORM} fuzzed Cookie headers none is an error or a session`, async (t) => {
    const unhandled = watchRejections(t)
    const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
    const app = await createApp(t, { db, cookie })
    app.addHook('onClose', () => db.close())
    app.get('/', async ({ session }) => `${session.isNew} ${session.size}`)
    await app.ready()
    const before = { ...traffic }

    const headers = fc.sample(anyHeader, HEADERS_PER_FORM)
    const bad: string[] = []
    for (let at = 0; at < headers.length; at += AT_A_TIME) {
      const visits = headers.slice(at, at + AT_A_TIME).map(async (header) => {
        const response = await app.inject({ url: '/', headers: { cookie: header } })
        const { statusCode, body } = response
        if (statusCode !== 200 || body !== 'true 0' || response.cookies.length > 0) bad.push(header)
      })
      await Promise.all(visits)
    }
    t.same(bad, [])
    t.same(unhandled, [])
    t.equal(await app.sessions.count(), 0)
    if (form !== 'plain') t.equal(traffic.reads, before.reads, 'the store was never asked')
  })
}

test('headers of raw bytes, over one connection, are no error either', async (t) => {
  const app = await createApp(t)
  app.get('/', async ({ session }) => `${session.isNew}`)
  const { port } = new URL(await listen(app))
  const socket = connect(Number(port), '127.0.0.1')
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk
  })
  await once(socket, 'connect')
  const count = 2000
  for (let index = 0; index < count; index++) {
    // What HTTP itself forbids in a header never gets as far as us.
    const bytes = randomBytes(60).map((byte) => (byte < 32 || byte === 127 ? 65 : byte))
    const last = index === count - 1 ? 'Connection: close\r\n' : ''
    socket.write(
      Buffer.concat([
        Buffer.from(`GET / HTTP/1.1\r\nHost: x\r\n${last}Cookie: id=`),
        bytes,
        Buffer.from(`; id=${createSessionId()}\r\n\r\n`)
      ])
    )
  }
  await once(socket, 'close')
  t.equal(text.match(/HTTP\/1\.1 200 /g)?.length, count)
  t.notMatch(text, /set-cookie/i)
})
