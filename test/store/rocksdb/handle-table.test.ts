import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { test } from 'tap'
import { HandleKey, hashOf } from '../../../lib/store/rocksdb/handle-key.js'
import { HandleTable } from '../../../lib/store/rocksdb/handle-table.js'

interface Named {
  name: string | null
  readonly number: number
}

/** Handles, some of which begin with the same four bytes, and some with the same first one. */
function handles(count: number): string[] {
  return Array.from({ length: count }, (_, at) => {
    const bytes = randomBytes(32)
    bytes.set([7, 7, 7, at % 3].slice(0, at % 5))
    return bytes.toString('base64url')
  })
}

test('the hash is the first four bytes', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (array) => {
      const bytes = Buffer.from(array)
      const handle = bytes.toString('base64url')
      const key = new HandleKey()
      key.set(handle)
      t.equal(hashOf(handle), bytes.readUint32BE())
      t.equal(key.hash, bytes.readUint32BE())
      t.ok(key.bytes.equals(bytes))
      t.equal(key.view.getUint32(28), bytes.readUint32BE(28))
      return t.passing()
    }),
    { examples: [[new Uint8Array(32).fill(255)], [new Uint8Array(32)]] }
  )
})

test('a table finds what a map would, whatever comes, goes and is swept', async (t) => {
  const names = handles(60)
  const step = fc.record({
    what: fc.constantFrom('set', 'set', 'set', 'delete', 'end', 'sweep'),
    which: fc.nat(59)
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const table = new HandleTable<Named>(({ name }) => name)
      const model = new Map<string, Named>()
      let ended = 0
      let swept = 0
      for (const [number, { what, which }] of steps.entries()) {
        const name = names[which] as string
        if (what === 'set') {
          const value = { name, number }
          table.set(name, value)
          model.set(name, value)
        } else if (what === 'delete') {
          table.delete(name)
          model.delete(name)
        } else if (what === 'end') {
          // As what a WeakRef led to is gone: it is in the table, and found no more.
          const value = model.get(name)
          if (value === undefined) continue
          value.name = null
          model.delete(name)
          ended++
        } else {
          const isOver = ({ name }: Named): boolean => {
            if (name === null) ended--
            return name === null
          }
          swept = table.sweep(swept, 7, isOver) ?? 0
        }
        if (table.size !== model.size + ended) return false
        if (names.some((each) => table.get(each) !== model.get(each))) return false
      }
      for (let from: number | null = 0; from !== null; ) {
        from = table.sweep(from, 7, ({ name }) => name === null)
      }
      return table.size === model.size
    })
  )
  t.pass()
})

test('many come and go, and what they leave is used again', async (t) => {
  const table = new HandleTable<Named>(({ name }) => name)
  let waiting: string[] = []
  for (let number = 0; number < 100_000; number++) {
    const name = randomBytes(32).toString('base64url')
    table.set(name, { name, number })
    waiting.push(name)
    if (waiting.length < 1000) continue
    for (const one of waiting.slice(0, 900)) table.delete(one)
    waiting = waiting.slice(900)
  }
  t.equal(table.size, waiting.length)
  t.ok(waiting.every((name) => table.get(name)?.name === name))
  let places = 0
  for (let from: number | null = 0; from !== null; places++) {
    from = table.sweep(from, 1, () => false)
  }
  t.ok(places <= 1001, `${places}`)
  for (const name of waiting) table.delete(name)
  t.equal(
    table.sweep(0, 1, () => false),
    null,
    'and given back when nothing is left'
  )
})
