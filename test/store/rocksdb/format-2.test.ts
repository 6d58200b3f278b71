import { test } from 'tap'
import type { Session } from '../../../lib/index.js'
import { kindOf } from '../../../lib/store/format/keys.js'
import { readExpiryEntry } from '../../../lib/store/rocksdb/format/expiry-entry.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { createApp, TestClock } from '../../support/app.js'
import { EVERY_VALUE, FIXTURE_TIME, LARGE_VALUE } from '../../support/every-value.js'
import { formatFixture } from '../../support/format-fixture.js'
import { readDatabase, withDatabase } from '../../support/rocksdb.js'

const VALUES = 'lSKD-LpLc5q0mMoHWp05I9Cft0eR2TO552M3r_8OhgE'
const SESSION_END = 'l1xZfDmr4NKEfxf69Y9mmVfy6R3NujYIfXmZ3j-7_yg'
const INACTIVITY = 'WAlNXkLz4vYZK7rHu6-sz185ZwUjXg7G6IrG6XgfaKo'
const DATE_TIME = 'lHNg0CdhRai4Npsbu7g8VZ8XGZaCqLPiHrlGAqntmVM'
const LARGE = 'kIsStdJtXk1a58p4HMY5rnauleDUltqqIlv_70ZiSy4'
const TOGETHER = [
  'mu0FV_QsJ5wRoGdM1UURmNa83NLwlrrFpg67ghUO7pI',
  '0EfumZrFmU0RlhV9Ix8bAcqYQMgobssZv372UQDoAy4'
]
const LOGGED_OUT = 'rvdTczdBnNfo83APqzxacnrQEoTtbUNJFcbJ7NLULis'
const CORRUPT = 'Vbq1nV7EPIfasW9EKV-CzUGeNJnpSEUGvXIEWXAhfKw'

const DAY = 86_400_000

test('a database of format 2 has each kind of entry', async (t) => {
  const path = await formatFixture(t, 2)
  const entries = await readDatabase(path)
  const counts: Record<string, number> = {}
  for (const [key] of entries) counts[kindOf(key)] = (counts[kindOf(key)] ?? 0) + 1
  t.same(counts, {
    meta: 1,
    record: 7,
    // That of the quarantined record stays until its time.
    expiry: 6,
    'expiry group': 1,
    principal: 1,
    part: 1,
    quarantine: 1,
    'quarantined part': 1
  })
  t.match(JSON.parse(String(entries[0]?.[1])), { format: 2 })
  const [group] = entries.filter(([key]) => kindOf(key) === 'expiry group')
  t.match(readExpiryEntry(...(group as [Buffer, Buffer])), { handles: { length: 3 }, sound: true })
  t.match(await withDatabase(path, verify), { problems: 0, records: 7, quarantined: 1 })
})

test('a database of format 2 opens, and each kind of value, expiry and session is there', async (t) => {
  const app = await createApp(t, { path: await formatFixture(t, 2), now: () => FIXTURE_TIME })
  const load = async (id: string): Promise<Session> => {
    const session = await app.sessions.load(`id=${id}`)
    if (session === null) throw new Error('it is gone')
    return session
  }
  const session = await load(VALUES)
  const values = Object.keys(EVERY_VALUE).map((key) => [key, session.get(key)])
  t.strictSame(Object.fromEntries(values), EVERY_VALUE)
  t.equal(session.principal, 'Zoë')
  t.match(await app.sessions.list('Zoë'), [
    { createdAt: new Date(FIXTURE_TIME), metadata: { device: 'phone' } }
  ])
  const large = await load(LARGE)
  t.same([large.get('large'), large.get('small')], [LARGE_VALUE, 1])
  for (const id of TOGETHER) t.equal((await load(id)).get('together'), true)
  for (const id of [LOGGED_OUT, CORRUPT]) t.equal(await app.sessions.load(`id=${id}`), null)
  t.match((await load(SESSION_END)).expiry, { kind: 'session-end' })
  t.match((await load(INACTIVITY)).expiry, { kind: 'inactivity', milliseconds: 2 * DAY })
  t.match((await load(DATE_TIME)).expiry, { kind: 'date-time', at: FIXTURE_TIME + 1000 })
  t.equal(await app.sessions.count(), 7)
})

test('the sessions of a database of format 2 are written on, and go in their time', async (t) => {
  const path = await formatFixture(t, 2)
  const clock = new TestClock()
  clock.time = FIXTURE_TIME
  const app = await createApp(t, { path, now: clock.now })
  const session = (await app.sessions.load(`id=${LARGE}`)) as Session
  session.set('large', 'small')
  await session.save()
  const deletedAfter = (milliseconds: number): Promise<number> => {
    clock.time = FIXTURE_TIME + milliseconds
    return app.sessions.deleteExpired()
  }
  t.equal(await deletedAfter(999), 0)
  t.equal(await deletedAfter(1000), 1, 'alone in its entry')
  t.equal(await deletedAfter(2 * DAY), 1)
  t.equal(await deletedAfter(1e12), 5, 'those of one entry too')
  await app.close()
  const kinds = (await readDatabase(path)).map(([key]) => kindOf(key))
  t.same(kinds, ['meta', 'quarantine', 'quarantined part'])
})
