import { test } from 'tap'
import { MemoryStore } from '../../lib/index.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import type { SessionRecord } from '../../lib/record/record.js'
import { GuardedStore } from '../../lib/store/guarded-store.js'
import { Gate } from '../support/gate.js'

const UNAVAILABLE = { code: 'SLED_SESSION_STORE_UNAVAILABLE' }
const MOST_READING = 16_384

/** A store whose loads wait for a gate and fail then. */
class StuckStore extends MemoryStore {
  readonly gate = new Gate()
  asked = 0

  override load(): never {
    return this.loadByHandle()
  }

  override loadByHandle(): never {
    this.asked++
    return this.gate.opened.then(() => Promise.reject(new Error('no answer'))) as never
  }
}

test('a load past the bound is refused before the store is asked, and fails nobody else', async (t) => {
  const store = new StuckStore()
  const guarded = new GuardedStore(store)
  const handle = handleOf(createSessionId())
  const waiting = Array.from({ length: MOST_READING }, async () => guarded.load(createSessionId()))
  for (const load of [() => guarded.load(createSessionId()), () => guarded.loadByHandle(handle)]) {
    const loading = load()
    t.type(loading, Promise, 'it never throws')
    await t.rejects(loading as Promise<unknown>, { ...UNAVAILABLE, message: /too many/ })
  }
  await t.rejects(guarded.read(handle), { ...UNAVAILABLE, message: /too many/ })
  t.equal(store.asked, MOST_READING)
  store.gate.open()
  const outcomes = await Promise.allSettled(waiting)
  t.ok(outcomes.every(({ status }) => status === 'rejected'))
  await t.rejects(guarded.load(createSessionId()) as Promise<unknown>, {
    ...UNAVAILABLE,
    cause: { message: 'no answer' }
  })
})

test('whatever a store throws or rejects with becomes an error of ours, and is told', async (t) => {
  class ThrowingStore extends MemoryStore {
    override load(): never {
      throw new Error('thrown')
    }
    override loadByHandle(): never {
      throw new Error('thrown')
    }
    override read(): never {
      throw new Error('thrown')
    }
    override save(): never {
      throw new Error('thrown')
    }
  }
  const told: string[] = []
  const store = new GuardedStore(new ThrowingStore(), {
    onFailure: (operation, { message }) => {
      t.match(message, operation)
      told.push(operation)
    }
  })
  const handle = handleOf(createSessionId())
  const record = store.create({ handle, createdAt: 0, lastSeenAt: 0, expiresAt: Date.now() + 1000 })
  const calls = [
    () => store.load(createSessionId()),
    () => store.loadByHandle(handle),
    () => store.read(handle),
    () => store.save(record, null)
  ]
  for (const call of calls) {
    await t.rejects(call() as Promise<unknown>, { ...UNAVAILABLE, cause: { message: 'thrown' } })
  }
  t.same(told, ['load a session', 'load a session', 'read a session', 'save a session'])
  t.match(record.failure, UNAVAILABLE, 'and nobody builds on what is not stored')
})

test('a record in memory is given at once', async (t) => {
  const store = new GuardedStore(new MemoryStore())
  const id = createSessionId()
  const record = store.create({
    handle: handleOf(id),
    createdAt: 0,
    lastSeenAt: 0,
    expiresAt: Date.now() + 1000
  })
  await store.save(record, null)
  t.equal(store.load(id) as SessionRecord, record)
  t.equal(store.loadByHandle(handleOf(id)) as SessionRecord, record)
})
