import { type Test, test } from 'tap'
import { createSessionId, handleOf } from '../../../lib/record/handle.js'
import { notesOf } from '../../../lib/record/notes.js'
import type { SessionRecord } from '../../../lib/record/record.js'
import { createStore } from '../../../lib/store/open-store.js'
import type { SessionStore } from '../../../lib/store/session-store.js'
import {
  addCounter,
  cookieOf,
  createApp,
  listen,
  TestClock,
  temporaryFolder
} from '../../support/app.js'
import { collectGarbage } from '../../support/garbage.js'

const KIB = 1024
const HOUR = 3_600_000
const SILENT = { debug() {}, info() {}, warn() {}, error() {} }
const turn = () => new Promise((resolve) => setImmediate(resolve))

interface Opened {
  readonly store: SessionStore
  readonly clock: TestClock
}

/** A store with room for some ten sessions as objects, and some hundred packed. */
async function openSmall(t: Test): Promise<Opened> {
  const clock = new TestClock()
  const path = await temporaryFolder(t)
  const store = createStore(
    { kind: 'path', path, lockTimeout: 0, columnFamily: 'session', durability: 'process' },
    256 * KIB
  )
  await store.open({ now: clock.now, log: SILENT })
  t.teardown(() => store.close())
  return { store, clock }
}

function begin({ store, clock }: Opened, id: string, text = 'first'): SessionRecord {
  const now = clock.now()
  const start = { handle: handleOf(id), createdAt: now, lastSeenAt: now, expiresAt: now + HOUR }
  const record = store.create(start)
  record.apply('text', text)
  return record
}

async function stored(opened: Opened, id: string, text?: string): Promise<SessionRecord> {
  const record = begin(opened, id, text)
  await opened.store.save(record, null)
  return record
}

/**
 * Pushes out all objects, by sessions that are too large to be packed and that somebody comes back
 * to, and takes those that nobody has.
 */
async function pack(opened: Opened): Promise<void> {
  const large = 'x'.repeat(70_000)
  for (let count = 0; count < 8; count++) {
    const id = createSessionId()
    await stored(opened, id, large)
    await opened.store.load(id)
  }
  for (let count = 0; count < 20; count++) await turn()
  collectGarbage()
}

async function missesDuring(store: SessionStore, work: () => unknown): Promise<number> {
  const misses = async (): Promise<number> => (await store.stats?.())?.cache?.misses ?? Number.NaN
  const before = await misses()
  await work()
  return (await misses()) - before
}

const textOf = (record: SessionRecord | null): string | undefined => record?.data.get('text')

test('a session that was packed is there at once, as it was in memory', async (t) => {
  const opened = await openSmall(t)
  const { store, clock } = opened
  const id = createSessionId()
  await stored(opened, id)
  const touched = async (): Promise<void> => {
    const record = (await store.load(id)) as SessionRecord
    notesOf(record).toldExpiresAt = 5
    clock.advance({ milliseconds: 1000 })
    record.lastSeenAt = clock.now()
    record.expiresAt = clock.now() + HOUR
  }
  await touched()
  await pack(opened)
  const misses = await missesDuring(store, () => {
    const record = store.load(id)
    if (record === null || record instanceof Promise) throw new Error('it is not in memory')
    t.equal(textOf(record), 'first')
    t.equal(record.lastSeenAt, clock.now(), 'the times that moved in memory have stayed')
    t.equal(notesOf(record).storedSeenAt, clock.now() - 1000, 'and what the store has of them')
    t.equal(notesOf(record).toldExpiresAt, 5)
    t.equal(store.load(id), record, 'and it is the one object of its session')
  })
  t.equal(misses, 0)
})

test('no text but its handle finds a session that is packed, nor takes it out of memory', async (t) => {
  const opened = await openSmall(t)
  const { store } = opened
  const id = createSessionId()
  await stored(opened, id)
  await pack(opened)
  const handle = handleOf(id)
  const standard = Buffer.from(handle, 'base64url').toString('base64')
  const others = ['', handle.slice(1), `${handle}=`, `${handle}zz`, standard]
  const last = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  others.push(`${handle.slice(0, -1)}${last[last.indexOf(handle.at(-1) as string) + 1]}`)
  for (const other of others) t.equal(await store.loadByHandle(other), null, other)
  const misses = await missesDuring(store, async () => {
    t.equal(textOf(await store.loadByHandle(handle)), 'first')
  })
  t.equal(misses, 0)
})

test('who still has the object of a packed session shares it with all others', async (t) => {
  const opened = await openSmall(t)
  const { store } = opened
  const id = createSessionId()
  const kept = await stored(opened, id)
  await pack(opened)
  kept.apply('text', 'second')
  t.equal(await store.load(id), kept)
  await pack(opened)
  await store.save(kept, null)
  t.equal(await store.load(id), kept)
  await pack(opened)
  t.equal(textOf(await store.load(id)), 'second')
})

test('what was not saved is gone with its object', async (t) => {
  const opened = await openSmall(t)
  const { store } = opened
  const id = createSessionId()
  await stored(opened, id)
  const change = async (): Promise<void> => {
    const record = (await store.load(id)) as SessionRecord
    record.apply('text', 'unsaved')
    notesOf(record).revision++
  }
  await change()
  await pack(opened)
  t.equal(textOf(await store.load(id)), 'first')
})

test('a session that has ended never comes back from memory', async (t) => {
  const opened = await openSmall(t)
  const { store } = opened
  const ends: Record<string, (record: SessionRecord) => Promise<unknown>> = {
    destroyed: (record) => store.destroy(record),
    renewed: (record) => store.replace(record, begin(opened, createSessionId()), true)
  }
  for (const [name, end] of Object.entries(ends)) {
    for (const loaded of [false, true]) {
      const id = createSessionId()
      const ended = async (): Promise<void> => {
        const record = await stored(opened, id)
        await pack(opened)
        // Either its bytes have been given out since, or they are still there.
        if (loaded) t.equal(await store.load(id), record)
        const ending = end(record)
        const meanwhile = store.load(id)
        t.ok(meanwhile instanceof Promise, 'whether it has ended shows when that is durable')
        await ending
        t.equal(await meanwhile, null)
      }
      await ended()
      t.equal(await store.load(id), null, name)
      await pack(opened)
      t.equal(await store.load(id), null, `${name}, and its object gone`)
    }
  }
})

test('an import replaces what is packed, and what somebody still has', async (t) => {
  const opened = await openSmall(t)
  const { store } = opened
  for (const keeps of [false, true]) {
    const id = createSessionId()
    const kept = [await stored(opened, id)]
    if (!keeps) kept.pop()
    await pack(opened)
    await store.putRecords([begin(opened, id, 'imported')])
    for (const when of ['at once', 'when that is packed']) {
      t.equal(textOf(await store.load(id)), 'imported', when)
      await pack(opened)
    }
    for (const record of kept) await t.rejects(store.save(record, null))
  }
})

test('who logs out of a session that has ended ends what an import has made of it since', async (t) => {
  const opened = await openSmall(t)
  const { store } = opened
  const logOut = async (place: string, keeps: boolean, after: (id: string) => unknown) => {
    const id = createSessionId()
    const ended = await stored(opened, id)
    await store.destroy(ended)
    await store.putRecords([begin(opened, id, 'imported')])
    const kept = await after(id)
    await store.destroy(ended)
    t.equal(await store.load(id), null, place)
    t.equal(await store.loadByHandle(handleOf(id)), null, place)
    t.equal(await store.read(handleOf(id)), null, place)
    if (!keeps) return
    const record = kept as SessionRecord
    t.ok(record.destroyed, place)
    await store.save(record, null)
    t.equal(await store.load(id), null, `${place}, when that is saved`)
  }
  const twice = async (id: string) => {
    await store.load(id)
    return store.load(id)
  }
  await logOut('an object', true, twice)
  await logOut('an object that was let go of', true, async (id) => {
    const kept = await twice(id)
    await pack(opened)
    return kept
  })
  await logOut('packed', false, async (id) => {
    await twice(id)
    await pack(opened)
  })
  await logOut('on disk', false, () => pack(opened))
  t.equal(await store.count(), 8 * 3)
})

test('the reaper judges packed sessions by what is true, and takes them along', async (t) => {
  const opened = await openSmall(t)
  const { store, clock } = opened
  const [used, unused] = [createSessionId(), createSessionId()]
  for (const id of [used, unused]) await stored(opened, id)
  const use = async (): Promise<void> => {
    const record = (await store.load(used)) as SessionRecord
    record.expiresAt = clock.now() + 3 * HOUR
  }
  await use()
  await pack(opened)
  clock.advance({ milliseconds: 2 * HOUR })
  const deleted = await store.deleteExpired()
  t.equal(await store.count(), 1, `and ${deleted} others`)
  t.equal(textOf(await store.load(used)), 'first', 'its deadline moved in memory alone')
  clock.advance({ milliseconds: -2 * HOUR })
  t.equal(await store.load(unused), null)
})

test('an object that somebody has given up is not handed out, and what is stored is', async (t) => {
  const opened = await openSmall(t)
  const { store } = opened
  for (const packed of [false, true]) {
    const id = createSessionId()
    const record = await stored(opened, id)
    if (packed) await pack(opened)
    record.apply('text', 'refused')
    // As whoever stands in front of the store does that refuses a save.
    record.failure = new Error('refused')
    const found = await store.load(id)
    t.not(found, record)
    t.equal(textOf(found), 'first')
    t.equal(await store.load(id), found)
  }
})

test('what is in memory is counted as it is', async (t) => {
  const opened = await openSmall(t)
  const { store } = opened
  for (let count = 0; count < 200; count++) await stored(opened, createSessionId(), 'x'.repeat(500))
  for (let count = 0; count < 20; count++) await turn()
  const cache = (await store.stats?.())?.cache
  t.ok(cache && cache.records === 200, `all are there: ${cache?.records}`)
  t.ok(cache && cache.bytes > 200 * 500 && cache.bytes <= cache.limit, `${cache?.bytes}`)
})

test('visitors in little memory keep what is theirs', async (t) => {
  const app = await createApp(t, { memory: 1024 * KIB })
  addCounter(app)
  app.get('/big', async (request) => request.session.set('data', 'x'.repeat(20_000)))
  app.get('/logout', async (request) => request.session.destroy())
  const url = await listen(app)
  const visit = (path: string, cookie: string) => fetch(`${url}${path}`, { headers: { cookie } })
  const cookies: string[] = []
  for (let index = 0; index < 60; index++) cookies.push(cookieOf(await fetch(`${url}/big`)) ?? '')
  for (let round = 0; round < 3; round++) {
    for (const cookie of cookies) {
      const answer = await (await visit('/', cookie)).text()
      if (!answer.includes(String(round))) t.fail(`${answer} in round ${round}`)
    }
    collectGarbage()
  }
  const gone = cookies.slice(0, 10)
  for (const cookie of gone) await visit('/logout', cookie)
  collectGarbage()
  for (const cookie of gone) t.match(await (await visit('/', cookie)).text(), /0/)
})
