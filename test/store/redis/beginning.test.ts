import { test } from 'tap'
import { changedBeginning } from '../../../lib/store/redis/beginning.js'

test('the beginning that changes makes one text of the other, byte by byte', async (t) => {
  const rest = 'é😀'.repeat(500)
  const pairs: [string, string][] = [
    [`a${rest}`, `b${rest}`],
    [`1 😀${rest}`, `2 😁${rest}`],
    [`😁x${rest}`, `😁y${rest}`],
    [`${'x'.repeat(300)}1${rest}`, `${'x'.repeat(300)}2${rest}`],
    ['abcdefgh', 'abXdefgh']
  ]
  for (const [from, to] of pairs) {
    const beginning = changedBeginning(from, to)
    const bytes = Buffer.from(from)
    bytes.write(beginning ?? '')
    t.equal(bytes.toString(), to)
    t.ok((beginning ?? '').length < to.length / 2)
  }
})

test('where it does not pay, or the bytes would move, there is none', async (t) => {
  t.equal(changedBeginning('abc', 'abcd'), null, 'another length')
  t.equal(changedBeginning('abcd', 'abce'), null, 'almost all of it')
  const rest = 'x'.repeat(100)
  t.equal(changedBeginning(`é${rest}`, `e${rest}`), null, 'as many characters and other bytes')
})
