import { test } from 'tap'
import { MemoryStore, SessionRecord } from '../../lib/index.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import { createApp } from '../support/app.js'

/** Knows how many sessions are loaded in one turn of the event loop, and how many bytes of data. */
class CountingStore extends MemoryStore {
  #loaded = 0
  #bytes = 0
  mostLoaded = 0
  mostBytes = 0

  override loadByHandle(handle: string): SessionRecord | null {
    const record = super.loadByHandle(handle)
    if (this.#loaded === 0) setImmediate(() => this.#endTurn())
    this.#loaded++
    this.#bytes += record?.size ?? 0
    this.mostLoaded = Math.max(this.mostLoaded, this.#loaded)
    this.mostBytes = Math.max(this.mostBytes, this.#bytes)
    return record
  }

  #endTurn(): void {
    this.#loaded = 0
    this.#bytes = 0
  }
}

function someSession(principal: string, bytes: number): SessionRecord {
  const now = Date.now()
  const record = new SessionRecord({
    handle: handleOf(createSessionId()),
    createdAt: now,
    lastSeenAt: now,
    expiresAt: now + 3_600_000
  })
  record.principal = principal
  record.apply('data', JSON.stringify('x'.repeat(bytes)))
  return record
}

for (const [many, bytes] of [
  [20_000, 10],
  [500, 60_000]
] as const) {
  test(`of ${many} sessions of ${bytes} bytes few are loaded at one time, and others have their turn`, async (t) => {
    const store = new CountingStore()
    const app = await createApp(t, { store })
    await store.putRecords(Array.from({ length: many }, () => someSession('ann', bytes)))
    await store.putRecords([someSession('bob', bytes)])

    let turns = 0
    let done = false
    const others = (async () => {
      while (!done) {
        turns++
        await new Promise((resolve) => setImmediate(resolve))
      }
    })()
    t.equal((await app.sessions.list('ann')).length, many)
    t.equal(await app.sessions.count('ann'), many)
    t.equal(await app.sessions.revokeAll('ann'), many)
    done = true
    await others
    t.ok(store.mostLoaded <= 128, `${store.mostLoaded} were loaded at one time`)
    t.ok(store.mostBytes <= 2 ** 21, `with ${store.mostBytes} bytes`)
    t.ok(turns >= (3 * many) / 128, `${turns} turns of others`)
    t.equal(await app.sessions.count('ann'), 0)
    t.equal(await app.sessions.count('bob'), 1)
  })
}

test('one session that cannot be loaded fails the whole, which can be done again', async (t) => {
  class Failing extends CountingStore {
    broken = ''
    override loadByHandle(handle: string): SessionRecord | null {
      if (handle === this.broken) throw new Error('unreadable')
      return super.loadByHandle(handle)
    }
  }
  const store = new Failing()
  const app = await createApp(t, { store })
  const sessions = Array.from({ length: 10 }, () => someSession('ann', 10))
  await store.putRecords(sessions)
  store.broken = sessions[4]?.handle ?? ''
  const unavailable = { code: 'SLED_SESSION_STORE_UNAVAILABLE' }
  await t.rejects(app.sessions.list('ann'), unavailable)
  await t.rejects(app.sessions.revokeAll('ann'), unavailable)
  store.broken = ''
  t.equal((await app.sessions.list('ann')).length, 10)
  t.equal(await app.sessions.revokeAll('ann'), 10)
})
