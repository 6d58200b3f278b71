import assert from 'node:assert/strict'
import { compareHandles } from '../../record/handle.js'
import {
  all,
  type Case,
  content,
  handlesOf,
  LIFETIME,
  loaded,
  MINUTE,
  newRecord,
  SessionRecord,
  saveChanges,
  storedRecord
} from './harness.js'

const MANY = 150

/** What spans several sessions: principals, counts, walks and expiry. */
export const listCases: Case[] = [
  {
    name: "a principal's sessions are listed, and nobody else's",
    async run(harness) {
      const { store } = harness
      const anns = [
        await storedRecord(harness, { principal: 'ann' }),
        await storedRecord(harness, { principal: 'ann' })
      ]
      const { record: bob, handle } = await storedRecord(harness, { principal: 'bob' })
      await storedRecord(harness, { principal: 'ann ' })
      await storedRecord(harness)
      const sorted = async (who: string) => (await handlesOf(store, who)).sort()
      assert.deepEqual(await sorted('ann'), anns.map((ann) => ann.handle).sort())
      bob.principal = 'ann'
      await store.save(bob, null)
      assert.deepEqual(await sorted('bob'), [])
      assert.ok((await sorted('ann')).includes(handle), 'the session is listed')
      bob.principal = null
      await store.save(bob, null)
      assert.deepEqual(await sorted('ann'), anns.map((ann) => ann.handle).sort())
      assert.deepEqual(await sorted('nobody'), [])
    }
  },
  {
    name: "a principal's sessions are listed in batches, each once, though sessions end meanwhile",
    async run(harness) {
      const { store } = harness
      const records = Array.from({ length: 600 }, () => {
        return newRecord(harness, { principal: 'ann', data: {} }).record
      })
      await store.putRecords(records)
      const listed: string[] = []
      for await (const handles of store.handlesOf('ann')) {
        assert.ok(handles.length < 600, 'not all at once')
        listed.push(...handles)
        const held = await Promise.all(handles.map((handle) => loaded(store, handle)))
        await Promise.all(held.map((record) => store.destroy(record)))
      }
      assert.deepEqual(listed.sort(), records.map(({ handle }) => handle).sort())
      assert.deepEqual(await handlesOf(store, 'ann'), [])
    }
  },
  {
    name: 'a session stays listed for as long as it lives',
    async run(harness) {
      const { store, clock } = harness
      const { record, handle } = await storedRecord(harness, { principal: 'ann' })
      for (let day = 0; day < 4; day++) {
        clock.time = record.expiresAt - 1
        record.expiresAt += 24 * 60 * MINUTE
        await store.save(record, null)
        await storedRecord(harness, { principal: 'ann' })
        await store.deleteExpired()
        assert.ok((await handlesOf(store, 'ann')).includes(handle), 'the session is listed')
      }
    }
  },
  {
    name: 'stored sessions are counted',
    async run(harness) {
      const { store } = harness
      for (let number = 1; number <= 5; number++) {
        await storedRecord(harness)
        assert.equal(await store.count(), number)
      }
    }
  },
  {
    name: 'all sessions can be walked in the order of their handles, from any of them on',
    async run(harness) {
      const { store, clock } = harness
      const put = Array.from({ length: MANY }, (_, number) => {
        return newRecord(harness, { principal: number % 2 ? 'ann' : null }).record
      })
      const short = newRecord(harness, { lifetime: MINUTE }).record
      await store.putRecords([...put, short])
      clock.time += MINUTE
      const sorted = put.sort((a, b) => compareHandles(a.handle, b.handle))
      const walked = await all(store)
      assert.deepEqual(walked.map(content), sorted.map(content))
      const middle = sorted[70] as SessionRecord
      assert.deepEqual(
        (await all(store, middle.handle)).map(content),
        sorted.slice(71).map(content)
      )
      walked[0]?.apply('counter', '2')
      assert.equal((await loaded(store, middle.handle)).data.get('counter'), '1')
    }
  },
  {
    name: 'sessions are put as they are, and loaded, listed and counted then',
    async run(harness) {
      const { store, clock } = harness
      const { record } = newRecord(harness)
      const foreign = new SessionRecord({
        handle: record.handle,
        createdAt: 1,
        lastSeenAt: 2,
        expiresAt: clock.time + LIFETIME
      })
      foreign.inherit(record, null)
      foreign.principal = 'ann'
      await store.putRecords([])
      await store.putRecords([foreign])
      assert.deepEqual(content(await loaded(store, record.handle)), content(foreign))
      assert.deepEqual(await handlesOf(store, 'ann'), [record.handle])
      assert.equal(await store.count(), 1)
    }
  },
  {
    name: 'putting replaces, and what a request had changed is not saved any more',
    async run(harness) {
      const { store } = harness
      const { record, handle } = await storedRecord(harness, { principal: 'ann' })
      const other = record.copy()
      other.principal = 'bob'
      other.apply('counter', '7')
      await store.putRecords([other])
      await saveChanges(store, record, { counter: '2' }).catch(() => {})
      const now = await loaded(store, handle)
      assert.deepEqual(content(now), content(other))
      assert.deepEqual(await handlesOf(store, 'bob'), [handle])
      await saveChanges(store, now, { counter: '8' })
      assert.equal((await store.read(handle))?.data.get('counter'), '8')
    }
  },
  {
    name: 'a store that notes copies knows the last one, and it is no session',
    async run({ store, clock }) {
      if (store.noteCopy === undefined || store.lastCopyAt === undefined) return
      assert.equal(await store.lastCopyAt(), null)
      await store.noteCopy(clock.time)
      await store.noteCopy(clock.time + MINUTE)
      assert.equal(await store.lastCopyAt(), clock.time + MINUTE)
      assert.equal(await store.count(), 0)
    }
  },
  {
    name: 'expired sessions are deleted and counted once, and no others',
    async run(harness) {
      const { store, clock } = harness
      const lifetime = MINUTE
      for (let number = 0; number < MANY; number++) {
        await storedRecord(harness, { lifetime, principal: 'ann' })
      }
      const { record: touched } = await storedRecord(harness, { lifetime })
      const { handle } = await storedRecord(harness)
      assert.equal(await store.deleteExpired(), 0)
      touched.expiresAt += MINUTE
      await store.save(touched, null)
      clock.time += lifetime
      assert.equal(await store.deleteExpired(), MANY)
      assert.equal(await store.deleteExpired(), 0)
      assert.equal(await store.count(), 2)
      await loaded(store, touched.handle)
      clock.time += MINUTE
      assert.equal(await store.deleteExpired(), 1)
      await loaded(store, handle)
    }
  },
  {
    name: 'a shortened deadline is found by the next run',
    async run(harness) {
      const { store, clock } = harness
      const { record } = await storedRecord(harness)
      record.expiry = { kind: 'inactivity', milliseconds: MINUTE }
      record.expiresAt = clock.time + MINUTE
      await store.save(record, null)
      clock.time += MINUTE
      assert.equal(await store.deleteExpired(), 1)
    }
  }
]
