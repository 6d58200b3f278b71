import assert from 'node:assert/strict'
import { onSessionEnd } from '../../record/expiry.js'
import {
  type Case,
  content,
  handlesOf,
  inTwoHands,
  loaded,
  MINUTE,
  newRecord,
  SessionRecord,
  saveChanges,
  storedData
} from './harness.js'

const needs = 'several writers'

/** What two processes do to one session at the same time. */
export const severalWritersCases: Case[] = [
  {
    name: 'each load gives a record of its own',
    needs,
    async run(harness) {
      const { store, one, handle } = await inTwoHands(harness)
      const again = await loaded(store, handle)
      assert.notEqual(again, one)
      again.apply('counter', '2')
      assert.equal(one.data.get('counter'), '1')
    }
  },
  {
    name: 'changes of different keys merge',
    needs,
    async run(harness) {
      const { one, other, store, second, handle } = await inTwoHands(harness)
      await saveChanges(store, one, { a: '1', counter: undefined })
      await saveChanges(second, other, { b: '2' })
      assert.deepEqual(await storedData(store, handle), { a: '1', b: '2' })
      await saveChanges(store, one, { c: '3' })
      assert.deepEqual(await storedData(second, handle), { a: '1', b: '2', c: '3' })
    }
  },
  {
    name: 'a save leaves alone what only another process has changed of expiry, user and metadata',
    needs,
    async run(harness) {
      const { one, other, store, second, handle } = await inTwoHands(harness)
      one.expiry = onSessionEnd()
      one.expiresAt -= MINUTE
      one.principal = 'ann'
      one.metadata = '"phone"'
      await store.save(one, null)
      other.expiresAt += MINUTE
      await saveChanges(second, other, { b: '2' })
      const now = await loaded(store, handle)
      const { expiresAt, principal, metadata, expiry } = now
      assert.deepEqual(
        { expiresAt, principal, metadata, expiry },
        {
          expiresAt: one.expiresAt,
          principal: 'ann',
          metadata: '"phone"',
          expiry: onSessionEnd()
        }
      )
      assert.equal(now.data.get('b'), '2')
    }
  },
  {
    name: 'a deadline never moves back unless the expiry changed',
    needs,
    async run(harness) {
      const { one, other, store, second, handle } = await inTwoHands(harness)
      one.expiresAt += MINUTE
      await store.save(one, null)
      other.expiresAt += 1
      await second.save(other, null)
      assert.equal((await loaded(store, handle)).expiresAt, one.expiresAt)
    }
  },
  {
    name: "another's change of the user is followed in the lists",
    needs,
    async run(harness) {
      const { one, other, store, second, handle } = await inTwoHands(harness, { principal: 'ann' })
      one.principal = 'bob'
      await store.save(one, null)
      other.expiresAt += MINUTE
      await second.save(other, null)
      assert.deepEqual(await handlesOf(store, 'bob'), [handle])
      assert.deepEqual(await handlesOf(store, 'ann'), [])
      assert.equal((await loaded(store, handle)).principal, 'bob')
      const { record: fresh } = newRecord(harness, { data: {} })
      const third = await loaded(second, handle)
      fresh.inherit(third, null)
      one.principal = 'cid'
      await store.save(one, null)
      assert.equal(await second.replace(third, fresh, true), true)
      assert.deepEqual(await handlesOf(store, 'cid'), [fresh.handle])
      assert.equal((await loaded(store, fresh.handle)).principal, 'cid')
    }
  },
  {
    name: 'a removal is seen at once, and no save brings the session back',
    needs,
    async run(harness) {
      const { one, other, store, second, handle } = await inTwoHands(harness, { principal: 'ann' })
      await store.destroy(one)
      assert.equal(await second.loadByHandle(handle), null)
      await saveChanges(second, other, { counter: '2' })
      assert.equal(other.destroyed, true)
      assert.equal(await store.read(handle), null)
      assert.equal(await store.count(), 0)
      assert.deepEqual(await handlesOf(store, 'ann'), [])
    }
  },
  {
    name: 'a session that was replaced or has expired elsewhere is not brought back',
    needs,
    async run(harness) {
      const { one, other, store, second, handle } = await inTwoHands(harness)
      const { record: fresh } = newRecord(harness, { data: {} })
      fresh.inherit(one, null)
      await store.replace(one, fresh, true)
      await saveChanges(second, other, { counter: '2' })
      assert.equal(other.destroyed, true)
      assert.equal(await second.read(handle), null)
      assert.deepEqual(await storedData(second, fresh.handle), { counter: '1' })

      const late = await loaded(second, fresh.handle)
      harness.clock.time = late.expiresAt
      late.expiresAt += MINUTE
      await saveChanges(second, late, { counter: '2' })
      assert.equal(late.destroyed, true)
    }
  },
  {
    name: 'a removal ends what the session was renewed to elsewhere',
    needs,
    async run(harness) {
      const { one, other, store, second } = await inTwoHands(harness, { principal: 'ann' })
      let last = one
      for (let renewal = 0; renewal < 2; renewal++) {
        const { record: fresh } = newRecord(harness, { data: {} })
        fresh.inherit(last, null)
        await store.replace(last, fresh, true)
        last = fresh
      }
      assert.equal((await second.loadSuccessor?.(one.handle))?.handle, last.handle)
      await second.destroy(other)
      assert.equal(await store.read(last.handle), null)
      assert.deepEqual(await handlesOf(store, 'ann'), [])
      assert.equal(await second.loadSuccessor?.(one.handle), null)
    }
  },
  {
    name: 'what has ended elsewhere cannot be replaced',
    needs,
    async run(harness) {
      const { one, other, store, second } = await inTwoHands(harness)
      await store.destroy(one)
      const { record: fresh } = newRecord(harness, { data: {}, principal: 'ann' })
      fresh.inherit(other, null)
      assert.equal(await second.replace(other, fresh, true), false)
      assert.equal(other.destroyed, true)
      assert.equal(fresh.destroyed, true)
      assert.equal(await second.read(fresh.handle), null)
      assert.equal(await store.count(), 0)
    }
  },
  {
    name: 'a replacement keeps what another process has stored meanwhile',
    needs,
    async run(harness) {
      const data = { a: '1', b: '2', c: '3' }
      const { one, other, store, second } = await inTwoHands(harness, { data })
      await saveChanges(store, one, { a: '10', b: '20', d: '4' })
      const { record: fresh } = newRecord(harness, { data: {} })
      fresh.inherit(other, null)
      fresh.apply('b', '200')
      fresh.apply('c', undefined)
      await second.replace(other, fresh, true)
      assert.deepEqual(await storedData(store, fresh.handle), { a: '10', b: '200', d: '4' })
    }
  },
  {
    name: 'a record that another process put stands for itself',
    needs,
    async run(harness) {
      const { other, store, second, handle } = await inTwoHands(harness)
      const expiresAt = harness.clock.time + MINUTE
      const put = new SessionRecord({ handle, createdAt: 1, lastSeenAt: 2, expiresAt })
      await store.putRecords([put])
      await saveChanges(second, other, { counter: '2' })
      assert.equal(other.destroyed, true)
      assert.deepEqual(content(await store.read(handle)), content(put))
    }
  }
]
