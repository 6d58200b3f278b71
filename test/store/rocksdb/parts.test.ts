import fc from 'fast-check'
import { type Test, test } from 'tap'
import { createSessionId, handleOf } from '../../../lib/record/handle.js'
import type { SessionRecord } from '../../../lib/record/record.js'
import { partKey, quarantinedPartKey, recordKey } from '../../../lib/store/format/keys.js'
import type { RocksDatabase } from '../../../lib/store/rocksdb/engine/binding.js'
import { borrowDatabase } from '../../../lib/store/rocksdb/engine/database.js'
import { type Durability, RocksDBStore } from '../../../lib/store/rocksdb/rocksdb-store.js'
import { verify } from '../../../lib/store/rocksdb/upkeep/verify.js'
import type { SessionStore } from '../../../lib/store/session-store.js'
import { temporaryFolder } from '../../support/app.js'
import { collectGarbage } from '../../support/garbage.js'
import { TEST_LOG } from '../../support/migration.js'
import { openApplicationDatabase, putRaw, type Traffic } from '../../support/rocksdb.js'

/** From so many UTF-16 units on, a value is kept apart. */
const LEAST = 2048
/** So little memory that a session leaves it as soon as another comes. */
const NO_MEMORY = 1
/** Some fit as objects, and what is pushed out is packed. */
const SOME_MEMORY = 200_000
const HOUR = 3_600_000

const turn = () => new Promise((resolve) => setImmediate(resolve))

interface Place {
  readonly traffic: Traffic
  readonly family: RocksDatabase
  now: number
  readonly quarantined: string[]
  open(cacheBytes?: number, durability?: Durability): Promise<SessionStore>
}

/** A database on which stores are opened, one after the other. */
async function place(t: Test): Promise<Place> {
  const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
  let store: SessionStore | null = null
  const close = async (): Promise<void> => {
    await store?.close()
    store = null
  }
  const family = db.columnFamily('session')
  t.teardown(async () => {
    await close()
    await family.close()
    await db.close()
  })
  const here: Place = {
    traffic,
    family,
    now: 1_000_000,
    quarantined: [],
    async open(cacheBytes = 1_000_000, durability = 'process') {
      await close()
      const opened = new RocksDBStore({
        connect: () => borrowDatabase(db, 'session'),
        cacheBytes,
        durability
      })
      await opened.open({
        now: () => here.now,
        log: TEST_LOG,
        onQuarantine: (handle) => here.quarantined.push(handle)
      })
      store = opened
      return opened
    }
  }
  return here
}

function blank(store: SessionStore, now: number): SessionRecord {
  const start = { createdAt: now, lastSeenAt: now, expiresAt: now + HOUR }
  return store.create({ handle: handleOf(createSessionId()), ...start })
}

async function save(
  store: SessionStore,
  record: SessionRecord,
  values: Record<string, string | undefined>
): Promise<void> {
  const changes = new Map(Object.entries(values))
  for (const [key, text] of changes) record.apply(key, text)
  await store.save(record, changes)
}

function valuesOf(record: SessionRecord | null): Record<string, string> | null {
  return record === null ? null : Object.fromEntries(record.data)
}

/** What is under each key of one kind, by the number of the part. */
async function partsOf(family: RocksDatabase, handle: string): Promise<Map<number, string>> {
  const parts = new Map<number, string>()
  for (let number = 1; number < 20; number++) {
    const bytes = await family.get(partKey(handle, number))
    if (bytes !== null) parts.set(number, bytes.toString())
  }
  return parts
}

const text = (length: number, letter = 'x') => JSON.stringify(letter.repeat(length - 2))

test('a value is kept apart from its length on, and written again only when it changes', async (t) => {
  const { family, open, now } = await place(t)
  const store = await open()
  const record = blank(store, now)
  const { handle } = record
  await save(store, record, { small: text(LEAST - 1), big: text(LEAST), counter: '1' })
  t.strictSame([...(await partsOf(family, handle))], [[1, text(LEAST)]])
  const before = (await family.get(recordKey(handle)))?.length ?? 0
  t.ok(before > LEAST && before < 2 * LEAST, 'the record has the other')

  await putRaw(family, partKey(handle, 1), Buffer.from('not to be touched'))
  await save(store, record, { counter: '2' })
  t.strictSame([...(await partsOf(family, handle))], [[1, 'not to be touched']])

  await save(store, record, { big: text(LEAST, 'y') })
  t.strictSame([...(await partsOf(family, handle))], [[1, text(LEAST, 'y')]])
  await save(store, record, { big: text(LEAST - 1) })
  t.equal((await partsOf(family, handle)).size, 0, 'it has shrunk')
  await save(store, record, { small: text(5000), big: text(4000) })
  t.strictSame([...(await partsOf(family, handle)).values()], [text(5000), text(4000)])
  await save(store, record, { small: undefined })
  t.strictSame([...(await partsOf(family, handle))], [[2, text(4000)]])
  await store.destroy(record)
  t.equal((await partsOf(family, handle)).size, 0)
  t.match(await verify(family), { problems: 0, records: 0, parts: 0 })
})

const anyKey = fc.constantFrom('a', 'b', 'c')
const anyLength = fc.constantFrom(undefined, 3, LEAST - 1, LEAST, LEAST + 1, 5000)
const anyLetter = fc.constantFrom('x', 'y', 'é', '猫', '👋')
const anyText = fc
  .tuple(anyLength, anyLetter)
  .map(([length, letter]) => (length === undefined ? undefined : text(length, letter)))
const anyValues = fc.dictionary(anyKey, anyText, { maxKeys: 3 })
const anyStep = fc.record({
  what: fc.constantFrom(
    'begin',
    'change',
    'change',
    'change twice',
    'fail',
    'renew',
    'end',
    'import',
    'expire',
    'pack',
    'open'
  ),
  which: fc.nat(),
  values: anyValues,
  more: anyValues
})

type Model = Map<string, Record<string, string>>
type Step = typeof anyStep extends fc.Arbitrary<infer T> ? T : never

function changed(
  before: Record<string, string>,
  values: Record<string, string | undefined>
): Record<string, string> {
  const after = Object.entries({ ...before, ...values }).filter(([, value]) => value !== undefined)
  return Object.fromEntries(after) as Record<string, string>
}

/** The next write hangs until this is called, and fails then. */
function failNextWrite(traffic: Traffic): () => void {
  let resolve = (): void => {}
  const until = new Promise<void>((done) => {
    resolve = done
  })
  traffic.held = { what: 'write', until }
  return () => {
    traffic.held = null
    let left = 1
    traffic.failing = (what) => what === 'write' && left-- > 0
    resolve()
  }
}

async function take(step: Step, store: SessionStore, model: Model, here: Place): Promise<void> {
  const { what, values, more } = step
  const handle = [...model.keys()][step.which % Math.max(1, model.size)]
  const record = handle === undefined ? null : await store.loadByHandle(handle)
  if (what === 'begin' || record === null || handle === undefined) {
    const fresh = blank(store, here.now)
    await save(store, fresh, values)
    model.set(fresh.handle, changed({}, values))
    return
  }
  const known = model.get(handle) ?? {}
  if (what === 'change') {
    await save(store, record, values)
    model.set(handle, changed(known, values))
  } else if (what === 'change twice') {
    const first = save(store, record, values)
    if (step.which % 2 === 0) await turn()
    await Promise.all([first, save(store, record, more), store.read(handle)])
    model.set(handle, changed(changed(known, values), more))
  } else if (what === 'fail') {
    const copy = record.copy()
    for (const [key, value] of Object.entries(more)) copy.apply(key, value)
    // What comes while it is under way must not build on what will never have been written.
    const release = failNextWrite(here.traffic)
    const first = save(store, record, values).catch(() => {})
    await turn()
    const put = store.putRecords([copy])
    await turn()
    release()
    await Promise.all([first, put])
    model.set(handle, valuesOf(copy) ?? {})
  } else if (what === 'renew') {
    const fresh = blank(store, here.now)
    fresh.inherit(record, null)
    await store.replace(record, fresh, true)
    model.delete(handle)
    model.set(fresh.handle, known)
  } else if (what === 'end') {
    await store.destroy(record)
    model.delete(handle)
  } else if (what === 'import') {
    const copy = record.copy()
    for (const [key, value] of Object.entries(values)) copy.apply(key, value)
    await store.putRecords([copy])
    model.set(handle, changed(known, values))
  } else if (what === 'expire') {
    record.expiresAt = here.now + 1
    await save(store, record, values)
    here.now += 2
    await store.deleteExpired()
    model.delete(handle)
  } else if (what === 'pack') {
    await pushOut(store, here)
  }
}

/** Leaves no session in memory as an object. */
async function pushOut(store: SessionStore, here: Place): Promise<void> {
  const large = Array.from({ length: 8 }, () => blank(store, here.now))
  for (const record of large) await save(store, record, { large: text(70_000) })
  for (let count = 0; count < 20; count++) await turn()
  for (const record of large) await store.destroy(record)
  collectGarbage()
}

test('whatever becomes of sessions, what they hold is whole, and nothing else is left', async (t) => {
  const here = await place(t)
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyStep, { minLength: 1, maxLength: 25 }),
      fc.constantFrom(NO_MEMORY, 20_000, SOME_MEMORY, SOME_MEMORY, 1_000_000),
      fc.constantFrom<Durability>('process', 'power'),
      async (steps, cacheBytes, durability) => {
        let store = await here.open(cacheBytes, durability)
        for await (const record of store.records()) {
          await store.destroy((await store.loadByHandle(record.handle)) as SessionRecord)
        }
        const model: Model = new Map()
        for (const step of steps) {
          if (step.what === 'open') store = await here.open(cacheBytes, durability)
          else await take(step, store, model, here)
          for (const [handle, values] of model) {
            t.strictSame(valuesOf(await store.read(handle)), values)
            t.strictSame(valuesOf(await store.loadByHandle(handle)), values)
          }
        }
        const walked: Model = new Map()
        for await (const record of store.records()) {
          walked.set(record.handle, valuesOf(record) ?? {})
        }
        t.strictSame(walked, new Map([...model].sort(([a], [b]) => order(a, b))))
        const all = [...model.values()].flatMap((values) => Object.values(values))
        const parts = all.filter(({ length }) => length >= LEAST).length
        t.match(await verify(here.family), { problems: 0, records: model.size, parts })
        return true
      }
    ),
    { numRuns: 60 }
  )
  t.same(here.quarantined, [])
})

function order(a: string, b: string): number {
  return Buffer.from(a, 'base64url').compare(Buffer.from(b, 'base64url'))
}

const FAILING = {
  'adds a value': { b: text(4000) },
  'changes one': { a: text(4000) },
  'removes one': { a: undefined }
}

for (const [what, values] of Object.entries(FAILING)) {
  test(`an import over a session whose write ${what}, and fails, leaves what was imported`, async (t) => {
    const here = await place(t)
    const { traffic, family } = here
    const store = await here.open()
    const record = blank(store, here.now)
    await save(store, record, { a: text(3000) })
    const release = failNextWrite(traffic)
    const saving = save(store, record, values)
    await turn()
    const copy = record.copy()
    copy.apply('a', undefined)
    const put = store.putRecords([copy])
    await turn()
    release()
    await t.rejects(saving)
    await put
    const left = 'b' in values ? 1 : 0
    t.match(await verify(family), { problems: 0, records: 1, parts: left })
    t.strictSame(valuesOf(await store.read(record.handle)), valuesOf(copy))
  })
}

test('a session that was packed knows what it keeps apart', async (t) => {
  const here = await place(t)
  const store = await here.open(SOME_MEMORY)
  const begin = async (): Promise<WeakRef<SessionRecord>> => {
    const record = blank(store, here.now)
    await save(store, record, { a: text(LEAST), b: text(3000), counter: '1' })
    return new WeakRef(record)
  }
  const reference = await begin()
  const handle = (reference.deref() as SessionRecord).handle
  await pushOut(store, here)
  t.equal(reference.deref(), undefined, 'the object is gone')
  const before = (await store.stats?.())?.cache?.misses
  const record = (await store.loadByHandle(handle)) as SessionRecord
  t.equal((await store.stats?.())?.cache?.misses, before, 'and it is in memory')

  await putRaw(here.family, partKey(handle, 1), Buffer.from('not to be touched'))
  await save(store, record, { b: undefined, counter: '2' })
  t.strictSame([...(await partsOf(here.family, handle))], [[1, 'not to be touched']])
  await store.destroy(record)
  t.equal((await partsOf(here.family, handle)).size, 0)
})

/** A session with three values that are kept apart, and the store closed. */
async function stored(here: Place, letter = 'a'): Promise<{ handle: string; store: SessionStore }> {
  const store = await here.open()
  const record = blank(store, here.now)
  record.principal = 'ann'
  await save(store, record, {
    a: text(3000, letter),
    counter: '1',
    b: text(4000, 'é'),
    c: text(LEAST, 'c')
  })
  return { handle: record.handle, store: await here.open() }
}

type Damage = (family: RocksDatabase, handle: string) => Promise<unknown>

const DAMAGE: Record<string, Damage> = {
  async 'a flipped bit'(family, handle) {
    const bytes = Buffer.from((await family.get(partKey(handle, 2))) ?? [])
    bytes[1000] = (bytes[1000] ?? 0) ^ 1
    await putRaw(family, partKey(handle, 2), bytes)
  },
  'a missing part': (family, handle) => putRaw(family, partKey(handle, 3), null),
  'an empty part': (family, handle) => putRaw(family, partKey(handle, 1), Buffer.alloc(0)),
  async 'two parts that have changed places'(family, handle) {
    const [one, two] = [await family.get(partKey(handle, 1)), await family.get(partKey(handle, 2))]
    await putRaw(family, partKey(handle, 1), two)
    await putRaw(family, partKey(handle, 2), one)
  },
  'a damaged record': (family, handle) => putRaw(family, recordKey(handle), Buffer.from('torn'))
}

for (const [what, damage] of Object.entries(DAMAGE)) {
  test(`${what}: never half a session; all of it goes to quarantine, and a walk leaves it out`, async (t) => {
    const here = await place(t)
    const { family } = here
    const other = await stored(here)
    const { handle, store } = await stored(here)
    await damage(family, handle)
    const kept = await partsOf(family, handle)
    t.match(await verify(family), { problems: 1, kinds: { 'corrupt-record': 1 }, records: 2 })

    await t.rejects(store.read(handle), { code: 'SLED_SESSION_RECORD_CORRUPT' })
    const left: (string | null)[] = []
    const walked: string[] = []
    for await (const record of store.records(undefined, (session) => left.push(session))) {
      walked.push(record.handle)
    }
    t.same([walked, left], [[other.handle], [handle.slice(0, 8)]])
    t.equal(await store.loadByHandle(handle), null)
    t.same(here.quarantined, [handle])

    t.equal((await partsOf(family, handle)).size, 0, 'nothing is left behind')
    for (const [number, part] of kept) {
      const bytes = await family.get(quarantinedPartKey(partKey(handle, number)))
      t.equal(String(bytes), part, 'a person can look at it')
    }
    t.match(await verify(family), { problems: 0, records: 1, parts: 3, quarantined: 1 })
    t.equal(await store.count(), 1)
    t.ok(await store.loadByHandle(other.handle))
  })
}

test("another session's part is none of this one", async (t) => {
  const here = await place(t)
  const ann = await stored(here, 'z')
  const { handle, store } = await stored(here)
  await putRaw(here.family, partKey(handle, 1), await here.family.get(partKey(ann.handle, 1)))
  t.equal(valuesOf(await store.loadByHandle(handle)), null)
  t.ok(await store.loadByHandle(ann.handle))
})

test('verify finds values that no record has', async (t) => {
  const here = await place(t)
  const { handle } = await stored(here)
  await putRaw(here.family, partKey(handle, 4), Buffer.from('"x"'))
  await putRaw(here.family, partKey(handleOf(createSessionId()), 1), Buffer.from('"x"'))
  const found = await verify(here.family)
  t.match(found, { problems: 2, kinds: { 'stray-part': 2 }, parts: 5 })
  t.match(found.listed[0], { kind: 'stray-part', session: /^.{8}$/ })
})

test('verify misses the entry of the expiry index of such a session', async (t) => {
  const here = await place(t)
  const { handle } = await stored(here)
  const range = { gte: Buffer.from([2]), lt: Buffer.from([3]) }
  for await (const { key } of here.family.iterator(range)) await putRaw(here.family, key, null)
  const found = await verify(here.family)
  t.match(found, { problems: 1, kinds: { 'missing-expiry-entry': 1 } })
  t.equal(found.listed[0]?.session, handle.slice(0, 8))
})

test('verify says both of a session that is not filed and has lost what it keeps apart', async (t) => {
  const here = await place(t)
  const { handle } = await stored(here)
  await putRaw(here.family, partKey(handle, 1), null)
  t.match(await verify(here.family), { problems: 1, kinds: { 'corrupt-record': 1 } })
  const range = { gte: Buffer.from([2]), lt: Buffer.from([3]) }
  for await (const { key } of here.family.iterator(range)) await putRaw(here.family, key, null)
  const kinds = { 'corrupt-record': 1, 'missing-expiry-entry': 1 }
  t.match(await verify(here.family), { problems: 2, kinds })
})

test('a session that cannot be read is discarded with all that it keeps apart', async (t) => {
  const here = await place(t)
  const { handle, store } = await stored(here)
  await store.discard?.(handle, 'ann')
  t.equal((await partsOf(here.family, handle)).size, 0)
  t.equal(await store.read(handle), null)
})

test('a read while it is written is of one moment', async (t) => {
  const here = await place(t)
  const { handle, store } = await stored(here)
  const record = (await store.loadByHandle(handle)) as SessionRecord
  let writing = true
  const writes = (async () => {
    for (let round = 0; round < 300; round++) {
      const letter = String.fromCharCode(97 + (round % 26))
      await save(store, record, { a: text(3000, letter), b: text(4000, letter), c: letter })
    }
    writing = false
  })()
  let reads = 0
  while (writing) {
    const { a = '', b = '', c = '' } = valuesOf(await store.read(handle)) ?? {}
    if (c.length === 1) t.same([a, b], [text(3000, c), text(4000, c)])
    reads++
  }
  await writes
  t.ok(reads > 50, `${reads} reads`)
})

test('a session of 16 MB in one value and in many, and the records alone are counted', async (t) => {
  const here = await place(t)
  let store = await here.open()
  const [one, many] = [blank(store, here.now), blank(store, here.now)]
  const values: Record<string, string> = {}
  for (let part = 0; part < 4000; part++) values[`key ${part}`] = text(4096, String(part % 10))
  await Promise.all([save(store, one, { all: text(16_000_000) }), save(store, many, values)])
  store = await here.open()
  t.equal((await store.loadByHandle(one.handle))?.data.get('all')?.length, 16_000_000)
  t.strictSame(valuesOf(await store.loadByHandle(many.handle)), values)
  t.equal(await store.count(), 2)
  t.match(await store.stats?.(), { sessions: 2 })
  t.match(await verify(here.family), { problems: 0, records: 2, parts: 4001 })
})
