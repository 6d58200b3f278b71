import { test } from 'tap'
import { MemoryStore, SessionRecord } from '../../lib/index.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import { createApp } from '../support/app.js'

/** Knows how many records are held at one time, and how many bytes of data are in them. */
class CountingStore extends MemoryStore {
  readonly #held = new Map<SessionRecord, number>()
  #bytes = 0
  mostHeld = 0
  mostBytes = 0

  override loadByHandle(handle: string): SessionRecord | null {
    const record = super.loadByHandle(handle)
    if (record === null) return null
    this.#held.set(record, (this.#held.get(record) ?? 0) + 1)
    this.#bytes += record.size
    this.mostHeld = Math.max(this.mostHeld, this.#held.size)
    this.mostBytes = Math.max(this.mostBytes, this.#bytes)
    return record
  }

  override release(record?: SessionRecord): void {
    if (record === undefined) return
    this.#bytes -= record.size
    const left = (this.#held.get(record) ?? 0) - 1
    if (left > 0) this.#held.set(record, left)
    else this.#held.delete(record)
  }

  get held(): number {
    return this.#held.size
  }
}

function someSession(principal: string, bytes: number): SessionRecord {
  const now = Date.now()
  const record = new SessionRecord(handleOf(createSessionId()), now, now, now + 3_600_000)
  record.principal = principal
  record.apply('data', JSON.stringify('x'.repeat(bytes)))
  return record
}

for (const [many, bytes] of [
  [20_000, 10],
  [500, 60_000]
] as const) {
  test(`of ${many} sessions of ${bytes} bytes few are held at one time, and others have their turn`, async (t) => {
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
    t.ok(store.mostHeld <= 128, `${store.mostHeld} were held at one time`)
    t.ok(store.mostBytes <= 2 ** 21, `with ${store.mostBytes} bytes`)
    t.equal(store.held, 0)
    t.ok(turns >= (3 * many) / 128, `${turns} turns of others`)
    t.equal(await app.sessions.count('ann'), 0)
    t.equal(await app.sessions.count('bob'), 1)
  })
}

test('one session that cannot be loaded leaves no other held', async (t) => {
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
  t.equal(store.held, 0)
})
