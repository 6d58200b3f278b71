import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import fc from 'fast-check'
import type { FastifyInstance } from 'fastify'
import { type Test, test } from 'tap'
import type { CookieOptions } from '../../lib/index.js'
import { createSessionId, isSessionId } from '../../lib/record/handle.js'
import { openDatabase } from '../../lib/store/rocksdb/engine/database.js'
import { RocksDBStore } from '../../lib/store/rocksdb/rocksdb-store.js'
import { createApp, listen, temporaryFolder } from '../support/app.js'

const HEADERS_PER_FORM = 33_400
const AT_A_TIME = 200
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

const forms: [string, CookieOptions][] = [
  ['plain', {}],
  ['signed', { signed: [randomBytes(32), randomBytes(32)] }],
  ['encrypted', { encrypted: [randomBytes(32), randomBytes(32)] }]
]

const idLike = fc.oneof(
  fc.string({ unit: 'binary-ascii', maxLength: 100 }),
  fc.base64String({ maxLength: 130 }),
  fc.string({ unit: fc.constantFrom(...BASE64URL, '.'), minLength: 40, maxLength: 90 }),
  fc.constantFrom('', '""', '"', '.', 'null', '__proto__', '%00', '%ZZ', 'j:{}', 's:x.y'),
  fc.constantFrom('', '.', '='.repeat(43)).map((tail) => createSessionId() + tail)
)
const pair = fc.oneof(
  idLike.map((value) => `id=${value}`),
  idLike.map((value) => `id="${value}"`),
  fc.tuple(idLike, idLike).map(([name, value]) => `${name}=${value}`),
  fc.constantFrom('id', 'id ', '=', ';', '__proto__=1', 'ID=1', 'id==', ' id = ', '\t')
)
const strange = fc
  .array(pair, { maxLength: 6 })
  .chain((pairs) => fc.constantFrom('; ', ';', ' ;', ',').map((join) => pairs.join(join)))

/** Headers that all but name a session that exists. */
function almost(real: string): fc.Arbitrary<string> {
  const at = fc.nat(real.length - 1)
  const character = fc.constantFrom(...BASE64URL, ...'+/=.%~!\u00e9')
  const otherValue = fc
    .oneof(
      fc.tuple(at, character).map(([index, c]) => real.slice(0, index) + c + real.slice(index + 1)),
      fc.tuple(at, character).map(([index, c]) => real.slice(0, index) + c + real.slice(index)),
      at.map((index) => real.slice(0, index)),
      at.map((index) => real.slice(index + 1)),
      at.map((index) => real.slice(index) + real.slice(0, index)),
      fc.constantFrom(`"${real}`, `${real}"`, `'${real}'`, `""${real}""`, real.toLowerCase()),
      fc.constantFrom(`x; ${real}`, `${real},id=`, `${real}, id=${real}`, `${real}%00`),
      // As another form would write it.
      fc.constantFrom(real.split('.')[0] ?? '', `${real}.${'A'.repeat(43)}`)
    )
    .filter((value) => value !== real)
    .map((value) => `id=${value}`)
  const otherName = fc
    .constantFrom('xid', 'ID', 'id ', 'i d', '"id"', 'a=id', '__Host-id', '')
    .map((name) => `${name}=${real}`)
  return fc.oneof({ weight: 9, arbitrary: otherValue }, otherName)
}

/** A real store that notes which ids it is asked for. */
class AskedStore extends RocksDBStore {
  readonly asked: string[] = []

  override load(id: string): ReturnType<RocksDBStore['load']> {
    this.asked.push(id)
    return super.load(id)
  }
}

/** An application with one session, that tells who comes whether he has it. */
async function guarded(t: Test, cookie: CookieOptions) {
  const folder = await temporaryFolder(t)
  const connect = () => openDatabase(folder, 'session', 1_000_000)
  const store = new AskedStore({ connect, cacheBytes: 1_000_000 })
  const app = await createApp(t, { store, cookie })
  app.get('/login', async ({ session }) => session.set('counter', 1))
  app.get('/', async ({ session }) => `${session.isNew} ${session.size}`)
  const real = (await app.inject('/login')).cookies[0]?.value ?? ''
  return { app, real, asked: store.asked }
}

/** Several well-formed cookies of which none is a session are cleared. */
const CLEARED = /^id=; Max-Age=0; .*$/

/** Sends these headers all at once; resolves to those that were answered otherwise. */
function answeredOtherwise(
  app: FastifyInstance,
  cookies: string[],
  expected: string
): Promise<string[]> {
  const wrong: string[] = []
  let left = cookies.length
  // With callbacks, as that many promises would take most of the time.
  return new Promise((resolve) => {
    for (const cookie of cookies) {
      app.inject({ url: '/', headers: { cookie } }, (_error, response) => {
        const { statusCode, payload, headers } = response ?? { headers: {} }
        const set = String(headers['set-cookie'] ?? '').replace(CLEARED, '')
        const outcome = `${statusCode} ${payload} ${set}`
        if (outcome !== `${expected} `) wrong.push(`${cookie} gave ${outcome}`)
        if (--left === 0) resolve(wrong)
      })
    }
  })
}

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
    const { app, real, asked } = await guarded(t, cookie)
    const headers = [
      ...fc.sample(strange, HEADERS_PER_FORM / 2),
      ...fc.sample(almost(real), HEADERS_PER_FORM / 2)
    ]
    const bad: string[] = []
    for (let at = 0; at < headers.length; at += AT_A_TIME) {
      const some = headers.slice(at, at + AT_A_TIME)
      bad.push(...(await answeredOtherwise(app, some, '200 true 0')))
    }
    t.same(bad, [])
    t.same(unhandled, [])
    t.same(
      asked.filter((id) => !isSessionId(id)),
      [],
      'the store is asked for well-formed ids'
    )
    if (form === 'plain') t.ok(asked.length > 0)
    else t.same(asked, [], 'nor for any that we have not issued')
    t.same(await answeredOtherwise(app, [`id=${real}`], '200 false 1'), [], 'but the real one')
    t.equal(await app.sessions.count(), 1)
  })

  test(`${form}: fuzzed headers over one connection neither break nor confuse it`, async (t) => {
    const { app, real } = await guarded(t, cookie)
    const { port } = new URL(await listen(app))
    const headers = [
      ...Array.from({ length: 600 }, () => Buffer.concat([Buffer.from('id='), randomBytes(60)])),
      ...fc.sample(almost(real), 600).map((header) => Buffer.from(header))
      // What HTTP itself forbids in a header never gets as far as us.
    ].map((header) => header.filter((byte) => byte > 31 && byte !== 127))
    const socket = connect(Number(port), '127.0.0.1')
    let text = ''
    socket.setEncoding('latin1').on('data', (chunk) => {
      text += chunk
    })
    const request = (header: string | Uint8Array, last = ''): void => {
      socket.write(`GET / HTTP/1.1\r\nHost: x\r\n${last}Cookie: `)
      socket.write(header)
      socket.write('\r\n\r\n')
    }
    for (const header of headers) request(header)
    request(`id=${real}`, 'Connection: close\r\n')
    await once(socket, 'close')
    const answers = text.split('HTTP/1.1 ').slice(1)
    t.equal(answers.length, headers.length + 1)
    t.equal(outcome(answers.pop()), '200 false 1')
    t.same([...new Set(answers.map(outcome))], ['200 true 0'])
    t.notMatch(text, /set-cookie/i)
  })
}

/** Status and body of an answer as it came. */
function outcome(answer = ''): string {
  return `${answer.slice(0, 3)} ${answer.split('\r\n\r\n')[1]}`
}

test('a header of any length is refused by HTTP or is no session, never an error', async (t) => {
  const { app } = await guarded(t, {})
  const url = await listen(app)
  for (const [length, status] of [
    [1000, 200],
    [15_000, 200],
    [17_000, 431],
    [1_000_000, 431]
  ]) {
    const headers = { cookie: `id=${'A'.repeat(length ?? 0)}`, connection: 'close' }
    const response = await fetch(url, { headers })
    t.equal(response.status, status)
    if (status === 200) t.equal(await response.text(), 'true 0')
  }
})
