import { cp, readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { type Test, test } from 'tap'
import type { SledSessionOptions } from '../../../lib/index.js'
import { recordKey } from '../../../lib/store/format/keys.js'
import { openReadOnly } from '../../../lib/store/rocksdb/engine/database.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import { createApp, temporaryFolder } from '../../support/app.js'
import { putRaw, withDatabase } from '../../support/rocksdb.js'

const VISITORS = 60
const POSITIONS = 10

interface Visitor {
  readonly name: string
  readonly cookie: string
  readonly handle: string
}

interface NamingApp {
  app: FastifyInstance
  lines: string[]
  meet: (name: string) => Promise<Visitor>
  /** The name that a visitor's session has; `null` for a fresh session, a number for an error. */
  ask: (cookie: string) => Promise<string | number | null>
}

/** Each session holds its visitor's name. */
async function namingApp(t: Test, options: SledSessionOptions): Promise<NamingApp> {
  const lines: string[] = []
  const logger = { stream: { write: (line: string) => lines.push(line) } }
  const app = await createApp(t, options, { logger })
  app.get<{ Querystring: { name: string } }>('/meet', async (request) => {
    request.session.set('name', request.query.name)
    return request.session.handle
  })
  app.get('/ask', async (request) => ({ name: request.session.get('name') ?? null }))
  return {
    app,
    lines,
    async meet(name) {
      const response = await app.inject(`/meet?name=${name}`)
      const cookie = String(response.headers['set-cookie']).split(';')[0] ?? ''
      return { name, cookie, handle: response.body }
    },
    async ask(cookie) {
      const response = await app.inject({ url: '/ask', headers: { cookie } })
      return response.statusCode === 200 ? response.json().name : response.statusCode
    }
  }
}

test('whichever byte of a record is damaged: quarantine, a log line and a fresh session', async (t) => {
  const path = await temporaryFolder(t)
  const before = await namingApp(t, { path })
  const first = await before.meet('visitor 0')
  await before.app.close()
  const length = await withDatabase(path, async (db) => {
    return (await db.get(recordKey(first.handle)))?.length ?? 0
  })
  t.ok(length > 60)

  const filling = await namingApp(t, { path })
  const visitors = [first]
  while (visitors.length < length) visitors.push(await filling.meet(`visitor ${visitors.length}`))
  await filling.app.close()

  await withDatabase(path, async (db) => {
    for (const [position, { handle }] of visitors.entries()) {
      const bytes = Buffer.from((await db.get(recordKey(handle))) ?? [])
      bytes[position] = (bytes[position] ?? 0) ^ (1 << (position % 8))
      await putRaw(db, recordKey(handle), bytes)
    }
  })

  const { app, lines, ask, meet } = await namingApp(t, { path })
  for (const { cookie } of visitors) t.equal(await ask(cookie), null)
  t.equal((await app.sessions.stats()).quarantined, length)
  t.equal(lines.filter((line) => line.includes('put in quarantine')).length, length)
  t.notMatch(lines.join(''), /visitor \d/)
  const fresh = await meet('somebody')
  t.equal(await ask(fresh.cookie), 'somebody')
  await app.close()
  const found = await withDatabase(path, (db) => verify(db))
  t.match(found, { problems: 0, quarantined: length, records: 1 })
})

test("a record under another session's key is not that session's", async (t) => {
  const path = await temporaryFolder(t)
  const before = await namingApp(t, { path })
  const ann = await before.meet('ann')
  const bob = await before.meet('bob')
  await before.app.close()
  await withDatabase(path, async (db) => {
    await putRaw(db, recordKey(bob.handle), await db.get(recordKey(ann.handle)))
  })
  const { ask } = await namingApp(t, { path })
  t.equal(await ask(bob.cookie), null)
  t.equal(await ask(ann.cookie), 'ann')
})

/** A database as a kill leaves it, all of it in its log; or closed, all of it in a table file. */
async function filledFolder(
  t: Test,
  kind: 'log' | 'table'
): Promise<{ path: string; visitors: Visitor[] }> {
  const path = join(await temporaryFolder(t), 'killed')
  const live = await temporaryFolder(t)
  const { app, meet } = await namingApp(t, { path: live })
  const visitors: Visitor[] = []
  for (let n = 0; n < VISITORS; n++) visitors.push(await meet(`visitor${n}`))
  await cp(live, path, { recursive: true })
  await app.close()
  // Opening moves the log into a table file.
  if (kind === 'table') await withDatabase(path, async () => {})
  return { path, visitors }
}

type Damage = (file: string, bytes: Buffer, at: number) => Promise<void>

const cutOff: Damage = (file, _, at) => truncate(file, at)
const flipBit: Damage = (file, bytes, at) => {
  const flipped = Buffer.from(bytes)
  flipped[at] = (flipped[at] ?? 0) ^ 1
  return writeFile(file, flipped)
}
const overwrite: Damage = (file, bytes, at) => {
  const overwritten = Buffer.from(bytes)
  return writeFile(file, overwritten.fill(0xa5, at, Math.min(at + 64, bytes.length)))
}

/** What each visitor gets from a damaged database, or `null` if it refuses to open. */
async function askDamaged(
  t: Test,
  filled: { path: string; visitors: Visitor[] },
  pattern: RegExp,
  damage: Damage,
  place: number
): Promise<(string | number | null)[] | null> {
  const path = join(await temporaryFolder(t), 'damaged')
  await cp(filled.path, path, { recursive: true })
  const files = (await readdir(path)).filter((name) => pattern.test(name)).sort()
  const sizes = await Promise.all(files.map((name) => readFile(join(path, name))))
  const largest = sizes.reduce((a, b) => (b.length > a.length ? b : a))
  const file = join(path, files[sizes.indexOf(largest)] ?? '')
  await damage(file, largest, Math.floor((largest.length - 1) * place))
  try {
    const { app, ask } = await namingApp(t, { path })
    const answers = []
    for (const { cookie } of filled.visitors) answers.push(await ask(cookie))
    await app.close()
    return answers
  } catch (error) {
    t.match(error, { code: 'SLED_SESSION_DATABASE_OPEN' })
    t.match((error as Error).message, /sled-session verify.*sled-session restore/)
    return null
  }
}

const PLACES = Array.from({ length: POSITIONS }, (_, at) => at / (POSITIONS - 1))

test('a log that ends early opens with what is before its end', async (t) => {
  const filled = await filledFolder(t, 'log')
  for (const place of PLACES) {
    const answers = await askDamaged(t, filled, /\.log$/, cutOff, place)
    const expected = filled.visitors.map(({ name }) => name)
    const kept = answers?.indexOf(null) ?? -1
    t.same(answers, [...expected.slice(0, kept), ...Array(VISITORS - kept).fill(null)])
    t.ok(Math.abs(kept - VISITORS * place) <= 3, `${kept} of ${VISITORS} are there`)
  }
})

for (const [what, damage] of [
  ['a bit flipped', flipBit],
  ['64 bytes overwritten', overwrite]
] as const) {
  test(`a log with ${what} is refused, or has all that is before the damage`, async (t) => {
    const filled = await filledFolder(t, 'log')
    let refused = 0
    for (const place of PLACES) {
      const answers = await askDamaged(t, filled, /\.log$/, damage, place)
      if (answers === null) {
        refused++
        continue
      }
      // In the last block, RocksDB may take a damaged header for the torn end of a crash.
      const kept = answers.includes(null) ? answers.indexOf(null) : VISITORS
      const expected = filled.visitors.slice(0, kept).map(({ name }) => name)
      t.same(answers, [...expected, ...Array(VISITORS - kept).fill(null)])
    }
    t.ok(refused > POSITIONS / 2, `${refused} of ${POSITIONS} were refused`)
  })
}

test('a refused log can be looked at, and verify says what is wrong', async (t) => {
  const { path, visitors } = await filledFolder(t, 'log')
  const [name = ''] = (await readdir(path)).filter((file) => file.endsWith('.log'))
  const bytes = await readFile(join(path, name))
  await flipBit(join(path, name), bytes, bytes.length >> 1)
  const { db, damage, close } = await openReadOnly(path, 'session')
  const found = await verify(db, () => {}, damage)
  await close()
  t.match(found, { problems: 1, listed: [{ kind: 'unreadable', detail: /log is damaged/ }] })
  t.ok(found.records > 10 && found.records < visitors.length)
})

test('table files and the manifest: each answer is right or an error, wherever they are damaged', async (t) => {
  const filled = await filledFolder(t, 'table')
  for (const pattern of [/\.sst$/, /^MANIFEST/, /^CURRENT$/]) {
    let errors = 0
    for (const damage of [cutOff, flipBit, overwrite]) {
      for (const place of PLACES) {
        const answers = await askDamaged(t, filled, pattern, damage, place)
        const wrong = answers?.filter(
          (answer, at) =>
            answer !== filled.visitors[at]?.name &&
            answer !== 503 &&
            // RocksDB may take damage in the last block of a manifest for the torn end of a crash.
            !(answer === null && pattern.source.includes('MANIFEST'))
        )
        t.same(wrong ?? [], [], `${pattern} ${damage.name} ${place}`)
        if (answers === null || answers.includes(503)) errors++
      }
    }
    t.ok(errors > POSITIONS, `${errors} of ${3 * POSITIONS} were seen`)
  }
})
