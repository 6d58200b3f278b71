import assert from 'node:assert/strict'
import {
  type Case,
  content,
  handlesOf,
  newRecord,
  saveChanges,
  storedData,
  storedRecord
} from './harness.js'

/** What a store does while its storage fails, and after. */
export const faultCases: Case[] = [
  {
    name: 'a save that fails rejects, and what was stored stays',
    needs: 'break',
    async run(harness) {
      const { store, place } = harness
      const { record, handle } = await storedRecord(harness)
      const { id, record: fresh } = newRecord(harness)
      await place.break?.('write')
      await assert.rejects(saveChanges(store, record, { counter: '2' }))
      await assert.rejects(store.save(fresh, new Map(fresh.data)))
      await place.mend?.()
      assert.deepEqual(await storedData(store, handle), { counter: '1' })
      assert.equal(await store.load(id), null)
      const again = await store.loadByHandle(handle)
      assert.equal(again?.data.get('counter'), '1')
    }
  },
  {
    name: 'a replacement that fails rejects, and the old session lives on alone',
    needs: 'break',
    async run(harness) {
      const { store, place } = harness
      const { id, record: old } = await storedRecord(harness)
      const { id: freshId, record: fresh } = newRecord(harness)
      await place.break?.('write')
      await assert.rejects(store.replace(old, fresh, true))
      await place.mend?.()
      assert.equal(old.destroyed, false)
      assert.ok(await store.load(id), 'the session is there')
      assert.equal(await store.load(freshId), null)
    }
  },
  {
    name: 'a removal that fails rejects, and the session lives on',
    needs: 'break',
    async run(harness) {
      const { store, place } = harness
      const { record, handle } = await storedRecord(harness)
      await place.break?.('write')
      // A full server may well delete.
      const outcome = await store.destroy(record).then(
        () => 'removed',
        () => 'failed'
      )
      await place.mend?.()
      assert.equal(record.destroyed, outcome === 'removed')
      assert.equal((await store.loadByHandle(handle)) === null, outcome === 'removed')
    }
  },
  {
    name: 'of sessions that are put, all are stored or none',
    needs: 'break',
    async run(harness) {
      const { store, place } = harness
      const { record: stored, handle } = await storedRecord(harness)
      const replacement = stored.copy()
      replacement.apply('counter', '7')
      await place.break?.('write')
      await assert.rejects(store.putRecords([replacement, newRecord(harness).record]))
      await place.mend?.()
      assert.deepEqual(await storedData(store, handle), { counter: '1' })
      assert.equal(await store.count(), 1)
    }
  },
  {
    name: 'a read that fails rejects and does not say that there is no session',
    needs: 'break',
    async run(harness) {
      const { store, place } = harness
      const { record, handle } = await storedRecord(harness)
      await place.break?.('read')
      await assert.rejects(store.read(handle))
      const outcome = await Promise.resolve(store.loadByHandle(handle)).catch(() => 'failed')
      assert.notEqual(outcome, null)
      await place.mend?.()
      assert.deepEqual(content(await store.read(handle)), content(record))
    }
  },
  {
    name: 'lists, counts and reaping that fail reject',
    needs: 'break',
    async run(harness) {
      const { store, place } = harness
      const { handle } = await storedRecord(harness, { principal: 'ann' })
      await place.break?.('list')
      await assert.rejects(handlesOf(store, 'ann'))
      await assert.rejects(store.count())
      await assert.rejects(store.deleteExpired())
      await place.mend?.()
      assert.deepEqual(await handlesOf(store, 'ann'), [handle])
      assert.equal(await store.deleteExpired(), 0)
    }
  }
]
