import { test } from 'tap'
import { type Leave, Turnstile } from '../../lib/session/turnstile.js'

const patience = { maxQueue: 2, maxWait: 60_000 }

test('one at a time, in the order in which they came, and others by another name', async (t) => {
  const turnstile = new Turnstile()
  const order: string[] = []
  const enter = async (name: string, who: string): Promise<Leave> => {
    const leave = (await turnstile.enter(name, patience)) as Leave
    order.push(who)
    return leave
  }
  const [a, b, c, other] = [enter('x', 'a'), enter('x', 'b'), enter('x', 'c'), enter('y', 'other')]
  await other
  t.same(order, ['a', 'other'])
  const leaveA = await a
  leaveA()
  leaveA()
  const leaveB = await b
  t.same(order, ['a', 'other', 'b'], 'leaving twice lets one in')
  leaveB()
  ;(await c)()
  t.type(await turnstile.enter('x', { ...patience, maxQueue: 0 }), 'function', 'free again')
})

test('who does not fit in the queue, waits too long or goes away is refused', async (t) => {
  const turnstile = new Turnstile()
  const leave = (await turnstile.enter('x', patience)) as Leave
  const away = new AbortController()
  const late = turnstile.enter('x', { maxQueue: 2, maxWait: 1 })
  const gone = turnstile.enter('x', { ...patience, signal: away.signal })
  t.equal(await turnstile.enter('x', patience), 'full')
  away.abort()
  t.equal(await gone, 'aborted')
  t.equal(await turnstile.enter('x', { ...patience, signal: away.signal }), 'aborted')
  t.equal(await late, 'late')
  const next = turnstile.enter('x', patience)
  leave()
  t.type(await next, 'function', 'none of them holds the place')
})
