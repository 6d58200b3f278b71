import fc from 'fast-check'
import { test } from 'tap'
import { findCookie } from '../../lib/http/cookie/header.js'

/** As RFC 6265 describes it, with no eye on speed. */
function model(header: string, name: string): string | null {
  const values: string[] = []
  for (const pair of header.split(';')) {
    const at = pair.indexOf('=')
    if (at === -1) continue
    // Only space and tab stand before a name; after it, nothing may.
    if (pair.slice(0, at).replace(/^[ \t]+/, '') !== name) continue
    const value = pair.slice(at + 1).trim()
    values.push(/^".*"$/s.test(value) && value.length > 1 ? value.slice(1, -1) : value)
  }
  return values.length === 1 ? (values[0] ?? null) : null
}

test('one cookie is found in any header as by a plain parser', async (t) => {
  const part = fc.constantFrom(
    'id',
    'id=',
    'x',
    'xid',
    'idx=',
    ';',
    '; ',
    '=',
    ' ',
    '\t',
    '"',
    'a',
    'id=1'
  )
  const header = fc.array(part, { maxLength: 14 }).map((parts) => parts.join(''))
  fc.assert(
    fc.property(fc.oneof(header, fc.string()), (text) => {
      return findCookie(text, 'id') === model(text, 'id')
    }),
    { numRuns: 20_000 }
  )
  t.pass('20,000 headers')
})

test('names are matched whole', async (t) => {
  t.equal(findCookie('xid=1; idx=2; id =3', 'id'), null)
  t.equal(findCookie('xid=1; id=4; idx=2', 'id'), '4')
  t.equal(findCookie('a=id=5', 'id'), null)
  t.equal(findCookie('ID=1', 'id'), null)
})

test('a name that occurs twice is as good as none', async (t) => {
  t.equal(findCookie('id=1; id=2', 'id'), null)
  t.equal(findCookie('id=1; a=b; id=1', 'id'), null)
})

test('quotes around a value are not part of it', async (t) => {
  t.equal(findCookie('id="v"', 'id'), 'v')
  t.equal(findCookie('id="v', 'id'), '"v')
  t.equal(findCookie('id="', 'id'), '"')
})

test('a header of any size costs one pass', async (t) => {
  const header = `${'id'.repeat(500_000)}; id=1`
  t.equal(findCookie(header, 'id'), '1')
})
