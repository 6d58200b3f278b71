import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import fc from 'fast-check'
import { type Test, test } from 'tap'
import {
  copySessions,
  exportSessions,
  importSessions,
  MemoryStore,
  openSessionStore,
  SessionRecord,
  type SessionStore
} from '../../lib/index.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import { encodeValue } from '../../lib/record/value.js'
import { handlesOf } from '../../lib/tools/conformance/harness.js'
import { parseLine, recordLine } from '../../lib/transfer/export-format.js'
import { addCounter, cookieOf, createApp, listen, temporaryFolder } from '../support/app.js'
import { contents, plain, someRecord } from '../support/sessions.js'

const REFUSED = 'SLED_SESSION_IMPORT_REFUSED'
const SILENT = { debug() {}, info() {}, warn() {}, error() {} }

async function memory(): Promise<MemoryStore> {
  const store = new MemoryStore()
  await store.open({ now: Date.now, log: SILENT })
  return store
}

async function rocks(t: Test): Promise<SessionStore> {
  const store = await openSessionStore(await temporaryFolder(t))
  t.teardown(() => store.close())
  return store
}

async function filled(store: SessionStore, count = 300): Promise<SessionStore> {
  const now = Date.now()
  await store.putRecords(Array.from({ length: count }, (_, at) => someRecord(at, now)))
  return store
}

async function textOf(store: SessionStore): Promise<string> {
  let text = ''
  for await (const piece of exportSessions(store)) text += piece
  return text
}

const piecesOf = (text: string | Buffer, size = 1000) =>
  Readable.from(
    (function* () {
      for (let at = 0; at < text.length; at += size) yield text.slice(at, at + size)
    })()
  )

test('what is exported from one store can be imported into another', async (t) => {
  const store = await filled(await rocks(t))
  const text = await textOf(store)
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.match(lines[0], { export: 'fastify-sled-session', version: 1, createdAt: /^20.*Z$/ })
  t.equal(lines.length, 302)
  t.match(lines[1], { handle: /^.{43}$/, createdAt: /Z$/, metadata: { agent: /phone/ } })
  t.equal(typeof lines[1].data.counter, 'number')
  t.same(lines[301], { sessions: 300 })

  const copy = await rocks(t)
  t.same(await importSessions(copy, piecesOf(Buffer.from(text))), { imported: 300, expired: 0 })
  t.same(await contents(copy), await contents(store))
  t.same(await importSessions(copy, piecesOf(text)), { imported: 300, expired: 0 })
  t.same(await contents(copy), await contents(store), 'once more changes nothing')
  t.same(
    (await handlesOf(copy, 'user 1')).sort(),
    (await handlesOf(store, 'user 1')).sort(),
    'indexes are made'
  )
})

test('any record survives as a line', (t) => {
  const value = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withNullPrototype: true
  })
  const time = fc.oneof(fc.integer({ min: 0 }), fc.double({ min: 0, max: 8e15, noNaN: true }))
  const principal = fc.oneof(
    fc.constant(null),
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 50 })
  )
  const entries = fc.array(fc.tuple(fc.string({ unit: 'binary' }), value))
  fc.assert(
    fc.property(time, time, principal, entries, value, (a, b, who, pairs, metadata) => {
      const record = new SessionRecord({
        handle: handleOf(createSessionId()),
        createdAt: a,
        lastSeenAt: b,
        expiresAt: b
      })
      record.principal = who
      record.expiry = { kind: 'date-time', at: a }
      try {
        record.metadata = encodeValue('', metadata, 10_000)
        for (const [key, item] of pairs) record.apply(key, encodeValue(key, item, 10_000))
      } catch {
        fc.pre(false)
      }
      const text = recordLine(record)
      if (text.indexOf('\n') !== text.length - 1) throw new Error('it is not one line')
      const line = parseLine(text)
      t.same(line.kind === 'record' ? plain(line.record) : line, plain(record))
    }),
    { numRuns: 300 }
  )
  t.end()
})

test('a running server exports and imports', async (t) => {
  const app = await createApp(t)
  addCounter(app)
  const cookie = cookieOf(await fetch(await listen(app))) ?? ''
  const pieces: string[] = []
  await pipeline(app.sessions.export(), async (source) => {
    for await (const piece of source) pieces.push(piece)
  })
  const other = await createApp(t)
  addCounter(other)
  const url = await listen(other)
  const result = await other.sessions.import(Readable.from(pieces))
  t.same(result, { imported: 1, expired: 0 })
  t.equal(await (await fetch(url, { headers: { cookie } })).text(), 'Current count: 1')
})

test('sessions past their time are left out of an import', async (t) => {
  const text = await textOf(await filled(await memory(), 10))
  const store = await memory()
  const now = () => Date.now() + 3_600_001
  t.same(await importSessions(store, piecesOf(text), { now }), { imported: 0, expired: 10 })
  t.equal(await store.count(), 0)
})

test('an import that was cut off says so, and can be run again', async (t) => {
  const source = await filled(await memory(), 200)
  const text = await textOf(source)
  const store = await memory()
  const half = text.slice(0, Math.floor(text.length / 2))
  await t.rejects(importSessions(store, piecesOf(half)), { code: REFUSED })
  const lines = text.split('\n')
  const whole = `${lines.slice(0, 150).join('\n')}\n`
  const message = 'Line 151 of the import is missing: the export was cut off.'
  await t.rejects(importSessions(store, piecesOf(whole)), { code: REFUSED, message })
  const lacking = lines.toSpliced(3, 1).join('\n')
  await t.rejects(importSessions(store, piecesOf(lacking)), { message: /says 200 .* but 199 have/ })
  await importSessions(store, piecesOf(text))
  t.same(await contents(store), await contents(source))
})

test('each line is checked, and what is wrong is told without what stands there', async (t) => {
  const store = await filled(await memory(), 1)
  const [header = '', line = '', footer = ''] = (await textOf(store)).split('\n')
  const good = JSON.parse(line)
  const but = (fields: object): string => JSON.stringify({ ...good, ...fields })
  const cases: [string, RegExp][] = [
    ['secret', /^Line 2 of the import is no JSON\.$/],
    ['["secret"]', /no JSON object/],
    [header, /begins another export/],
    [but({ handle: 'secret' }), /has no handle/],
    [but({ handle: 'B'.repeat(43) }), /has no handle/],
    [but({ createdAt: 'secret' }), /no time as "createdAt"/],
    [but({ expiresAt: 1e300 }), /no time as "expiresAt"/],
    [but({ lastSeenAt: null }), /no time as "lastSeenAt"/],
    [but({ expiry: 'secret' }), /has no expiry/],
    [but({ expiry: { kind: 'secret' } }), /no known kind/],
    [but({ expiry: { kind: 'inactivity', milliseconds: -1 } }), /no known kind/],
    [but({ principal: '' }), /has a principal/],
    [but({ principal: 'secret'.repeat(1000) }), /has a principal/],
    [but({ data: 'secret' }), /no object as "data"/],
    [but({ typed: 'secret' }), /no object as "typed"/],
    [but({ typed: { a: [99, 'secret'] } }), /stands for nothing/],
    [but({ typed: { a: [10, { secret: 1 }] } }), /stands for nothing/],
    [but({ typed: { a: [6, 'secret'] } }), /stands for nothing/],
    [but({ secret: 1 }), /field that no session has/],
    [`${line.slice(0, -1)},"data":${'['.repeat(500)}${']'.repeat(500)}}`, /no object as "data"/],
    [but({ data: JSON.parse(`{"a":${'['.repeat(500)}${']'.repeat(500)}}`) }), /nested too deep/],
    ['{"sessions":"secret"}', /no number as "sessions"/]
  ]
  for (const [text, message] of cases) {
    const target = await memory()
    const lines = piecesOf([header, text, footer].join('\n'))
    const error = await importSessions(target, lines).then(
      () => null,
      (reason: Error) => reason
    )
    t.match(error, { code: REFUSED, message: /^Line 2 of the import / })
    t.match(error?.message, message)
    t.notMatch(`${error?.message} ${error?.cause}`, /secret/)
    t.equal(await target.count(), 0)
  }
  const firsts: [string, RegExp][] = [
    ['{"export":"secret","version":1}', /something else/],
    ['{"export":"fastify-sled-session","version":2}', /version that this one does not know/],
    [line, /does not begin an export/],
    ['', /does not begin|is missing/]
  ]
  for (const [text, message] of firsts) {
    await t.rejects(importSessions(store, piecesOf(text)), { code: REFUSED, message })
  }
  const behind = piecesOf([header, line, '{"sessions":1}', line].join('\n'))
  await t.rejects(importSessions(store, behind), { message: /^Line 4 .* stands behind/ })
})

test('a line without an end does not fill the memory', async (t) => {
  const endless = Readable.from(
    (function* () {
      for (;;) yield 'x'.repeat(1024 * 1024)
    })()
  )
  await t.rejects(importSessions(await memory(), endless), {
    message: /^Line 1 of the import has more than a session may hold/
  })
})

test('long operations tell their progress and can be ended', async (t) => {
  const store = await filled(await rocks(t), 1000)
  const text = await textOf(store)
  const stop = () => {
    const stopping = new AbortController()
    const seen: number[] = []
    const onProgress = ({ done }: { done: number }): void => {
      seen.push(done)
      stopping.abort(new Error('enough'))
    }
    return { seen, options: { onProgress, signal: stopping.signal } }
  }
  const exporting = stop()
  const all = async (): Promise<void> => {
    for await (const _ of exportSessions(store, exporting.options));
  }
  await t.rejects(all(), { message: 'enough' })
  t.ok((exporting.seen[0] ?? 0) < 1000)

  const target = await rocks(t)
  const importing = stop()
  const cut = importSessions(target, piecesOf(text), importing.options)
  await t.rejects(cut, { message: 'enough' })
  t.same(importing.seen, [128])
  t.equal(await target.count(), 256, 'the batch under way is stored')

  const copying = stop()
  await t.rejects(copySessions(store, target, copying.options), { message: 'enough' })
  const seen: number[] = []
  const onProgress = ({ done }: { done: number }) => seen.push(done)
  t.match(await copySessions(store, target, { onProgress }), { sessions: 1000 })
  t.equal(seen.at(-1), 1000)
})

test('a copy is complete, and the next one copies only what has changed', async (t) => {
  const from = await filled(await rocks(t))
  const to = await memory()
  const none = { deleted: 0, others: 0, different: 0, newer: 0, unreadable: 0 }
  t.same(await copySessions(from, to), { sessions: 300, copied: 300, ...none })
  t.same(await contents(to), await contents(from))
  t.same(await copySessions(from, to), { sessions: 300, copied: 0, ...none })

  const [{ handle }] = (await contents(from)) as [{ handle: string }]
  const record = (await from.loadByHandle(handle)) as SessionRecord
  record.apply('counter', '1000')
  await from.save(record, null)
  await to.putRecords([someRecord(1, Date.now())])
  t.same(await copySessions(from, to), {
    ...none,
    sessions: 300,
    copied: 1,
    others: 1,
    newer: 0,
    unreadable: 0
  })
})

test('a copy finds what the target did not keep', async (t) => {
  const from = await filled(await memory(), 10)
  const to = await memory()
  const { putRecords } = to
  to.putRecords = async (records) => {
    const [first, second, ...rest] = records
    second?.apply('counter', '-1')
    await putRecords.call(to, second === undefined ? rest : [second, ...rest])
    t.ok(first)
  }
  t.match(await copySessions(from, to), { sessions: 10, copied: 10, different: 2 })
})

test('a store that fails fails what reads or fills it', async (t) => {
  const store = await filled(await memory(), 10)
  const text = await textOf(store)
  store.putRecords = async () => {
    throw new Error('disk full')
  }
  const code = 'SLED_SESSION_STORE_UNAVAILABLE'
  await t.rejects(importSessions(store, piecesOf(text)), { code })
  store.stats = async () => {
    throw new Error('gone')
  }
  await t.rejects(textOf(store), { code })
})
