import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { test } from 'tap'
import {
  type CookieForm,
  encryptedForm,
  plainForm,
  signedForm
} from '../../lib/http/cookie/form.js'
import { createSessionId } from '../../lib/record/handle.js'
import { addCounter, cookieOf, createApp, listen, temporaryFolder } from '../support/app.js'

const key = () => randomBytes(32)
const makers: [string, (name: string, keys: Buffer[]) => CookieForm][] = [
  ['signed', signedForm],
  ['encrypted', encryptedForm]
]

test('the plain form is the id itself', async (t) => {
  const id = createSessionId()
  t.equal(plainForm.encode(id), id)
  t.same(plainForm.decode(id), { id, stale: false })
  t.equal(plainForm.decode(`${id}x`), null)
})

for (const [option, make] of makers) {
  test(`${option}: what was encoded decodes, and hides or shows the id`, async (t) => {
    const form = make('id', [key()])
    const id = createSessionId()
    t.same(form.decode(form.encode(id)), { id, stale: false })
    t.equal(form.encode(id).includes(id), option === 'signed')
    t.match(form.encode(id), /^[A-Za-z0-9_.-]+$/, 'a cookie value that needs no quoting')
    t.equal(new Set([form.encode(id), form.encode(id)]).size, option === 'signed' ? 1 : 2, 'nonces')
  })

  test(`${option}: the first key writes, all keys read, and an old one is told`, async (t) => {
    const [now, old, older] = [key(), key(), key()]
    const id = createSessionId()
    const form = make('id', [now, old, older])
    t.same(form.decode(make('id', [old]).encode(id)), { id, stale: true })
    t.same(form.decode(make('id', [older]).encode(id)), { id, stale: true })
    t.same(make('id', [now]).decode(form.encode(id)), { id, stale: false })
    t.equal(make('id', [now]).decode(make('id', [old]).encode(id)), null)
  })

  test(`${option}: each changed, missing or added character is refused`, async (t) => {
    const form = make('id', [key(), key()])
    const value = form.encode(createSessionId())
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.= '
    for (let at = 0; at < value.length; at++) {
      for (const character of alphabet) {
        if (character === value[at]) continue
        const forged = value.slice(0, at) + character + value.slice(at + 1)
        if (form.decode(forged) !== null) t.fail(`accepted ${forged}`)
      }
      t.equal(form.decode(value.slice(0, at) + value.slice(at + 1)), null)
      t.equal(form.decode(`${value.slice(0, at)}A${value.slice(at)}`), null)
    }
  })

  test(`${option}: a value is bound to the cookie's name and to its form`, async (t) => {
    const secret = key()
    const id = createSessionId()
    t.equal(make('other', [secret]).decode(make('id', [secret]).encode(id)), null)
    for (const [, other] of makers.filter(([name]) => name !== option)) {
      t.equal(other('id', [secret]).decode(make('id', [secret]).encode(id)), null)
    }
    t.equal(make('id', [secret]).decode(plainForm.encode(id)), null)
    t.equal(plainForm.decode(make('id', [secret]).encode(id)), null)
  })

  test(`${option}: no other text decodes`, async (t) => {
    const form = make('id', [key()])
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 120 }),
        (text) => form.decode(text) === null
      )
    )
    t.pass()
  })

  test(`${option}: weak keys are refused`, async (t) => {
    const weak = [[], ['short'], [Buffer.alloc(32)], ['a'.repeat(40)], [key(), 'b'], [42], 'text']
    for (const keys of weak) {
      t.throws(() => make('id', keys as Buffer[]), {
        code: 'SLED_SESSION_INVALID_OPTION',
        message: new RegExp(`cookie\\.${option}`)
      })
    }
    t.ok(make('id', ['correct horse battery staple, and more' as unknown as Buffer]))
  })

  test(`${option}: keys rotate without logging anybody out`, async (t) => {
    const [old, now] = [key(), key()]
    const path = await temporaryFolder(t)
    const visit = async (keys: Buffer[], cookie = '') => {
      const app = await createApp(t, { path, cookie: { [option]: keys } })
      addCounter(app)
      app.get('/reads', async (request) => request.session.get('counter') ?? 'none')
      const response = await fetch(`${await listen(app)}/${cookie === '' ? '' : 'reads'}`, {
        headers: { cookie }
      })
      const result = { text: await response.text(), cookie: cookieOf(response) }
      await app.close()
      return result
    }
    const first = await visit([old])
    const second = await visit([now, old], first.cookie)
    t.equal(second.text, '1')
    t.ok(second.cookie, 'a cookie under an old key is replaced')
    t.same(await visit([now], second.cookie), { text: '1', cookie: undefined })
    t.same(await visit([now], first.cookie), { text: 'none', cookie: undefined })
  })
}
