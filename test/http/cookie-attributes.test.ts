import { test } from 'tap'
import {
  type CookieOptions,
  checkCookieOptions,
  type SecureOption,
  setCookieHeader
} from '../../lib/http/cookie/attributes.js'
import { addCounter, createApp, listen } from '../support/app.js'

const header = (options: CookieOptions, secure: SecureOption, maxAge: number | null = null) =>
  setCookieHeader(checkCookieOptions(options, secure), 'v', maxAge, secure === true)

test('the header says what the options ask for', async (t) => {
  t.equal(header({}, true), 'id=v; Path=/; HttpOnly; SameSite=Lax; Secure')
  t.equal(header({}, false), 'id=v; Path=/; HttpOnly; SameSite=Lax')
  t.equal(
    header(
      {
        name: 'sid',
        path: '/app',
        domain: 'example.com',
        httpOnly: false,
        sameSite: 'none',
        partitioned: true,
        priority: 'high'
      },
      true,
      1001
    ),
    'sid=v; Max-Age=2; Path=/app; Domain=example.com; SameSite=None; Partitioned; Priority=High; Secure'
  )
  t.equal(
    header({ name: '__Host-id' }, true),
    '__Host-id=v; Path=/; HttpOnly; SameSite=Lax; Secure'
  )
})

test('what RFC 6265bis or browsers refuse is refused at register, naming the attribute', async (t) => {
  const wrong: [string, CookieOptions, SecureOption][] = [
    ['name', { name: '' }, true],
    ['name', { name: 'a b' }, true],
    ['name', { name: 'a=b' }, true],
    ['name', { name: 'ä' }, true],
    ['name', { name: 5 as unknown as string }, true],
    ['path', { path: 'app' }, true],
    ['path', { path: '/a;b' }, true],
    ['path', { path: '/a\r\nSet-Cookie: b=c' }, true],
    ['domain', { domain: 'exa mple.com' }, true],
    ['domain', { domain: 'example.com; Secure' }, true],
    ['domain', { domain: '' }, true],
    ['httpOnly', { httpOnly: 1 as unknown as boolean }, true],
    ['partitioned', { partitioned: 'yes' as unknown as boolean }, true],
    ['sameSite', { sameSite: 'Lax' as 'lax' }, true],
    ['sameSite', { sameSite: 'none' }, false],
    ['sameSite', { sameSite: 'none' }, 'auto'],
    ['partitioned', { partitioned: true }, false],
    ['partitioned', { partitioned: true }, 'auto'],
    ['priority', { priority: 'urgent' as 'high' }, true],
    ['name', { name: '__Secure-id' }, false],
    ['name', { name: '__secure-id' }, 'auto'],
    ['name', { name: '__Host-id' }, false],
    ['name', { name: '__Host-id', path: '/app' }, true],
    ['name', { name: '__HOST-id', domain: 'example.com' }, true],
    ['signed', { signed: ['x'.repeat(32)], encrypted: ['x'.repeat(32)] }, true],
    ['secure', { secure: true } as CookieOptions, true],
    ['maxAge', { maxAge: 5 } as CookieOptions, true]
  ]
  for (const [option, options, secure] of wrong) {
    t.throws(
      () => checkCookieOptions(options, secure),
      { code: 'SLED_SESSION_INVALID_OPTION', message: new RegExp(`"cookie\\.${option}"`) },
      JSON.stringify([options, secure])
    )
  }
})

test('secure: "auto" follows the protocol, behind a proxy too', async (t) => {
  const app = await createApp(t, { secure: 'auto' }, { trustProxy: true })
  addCounter(app)
  const url = await listen(app)
  const cookie = async (headers: Record<string, string>) =>
    (await fetch(url, { headers })).headers.getSetCookie()[0] ?? ''
  t.notMatch(await cookie({}), /Secure/)
  t.match(await cookie({ 'x-forwarded-proto': 'https' }), /; Secure$/)
})

test('without trustProxy nobody can claim to come by https', async (t) => {
  const app = await createApp(t, { secure: 'auto' })
  addCounter(app)
  const response = await fetch(await listen(app), { headers: { 'x-forwarded-proto': 'https' } })
  t.notMatch(response.headers.getSetCookie()[0], /Secure/)
})

test('a Secure cookie over plain http is warned about, once, with what to set', async (t) => {
  const lines: string[] = []
  const stream = { write: (line: string) => lines.push(line) }
  const app = await createApp(t, { secure: true }, { logger: { stream } })
  addCounter(app)
  const url = await listen(app)
  for (let visit = 0; visit < 3; visit++) await fetch(url)
  const warnings = lines.filter((line) => line.includes('plain http'))
  t.equal(warnings.length, 1)
  t.match(warnings[0], /trustProxy.*secure: \\"auto\\"/)
})
