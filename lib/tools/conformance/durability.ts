import assert from 'node:assert/strict'
import { type Case, content, handlesOf, loaded, storedRecord } from './harness.js'

/** A second look at what is stored, by another store. */
export const durabilityCases: Case[] = [
  {
    name: 'what was saved is there after closing and opening',
    needs: 'durable',
    async run(harness) {
      const kept = await storedRecord(harness, { principal: 'ann' })
      const { record: destroyed, handle } = await storedRecord(harness)
      await harness.store.destroy(destroyed)
      const store = await harness.reopen()
      assert.deepEqual(content(await loaded(store, kept.handle)), content(kept.record))
      assert.equal(await store.read(handle), null)
      assert.deepEqual(await handlesOf(store, 'ann'), [kept.handle])
    }
  },
  {
    name: 'what does not decode is no session, and is put aside, logged and told',
    needs: 'damage',
    async run(harness) {
      const { place, log, quarantined } = harness
      const { handle } = await storedRecord(harness)
      const other = await storedRecord(harness)
      const store = await harness.reopen(() => place.damage?.(handle))
      await assert.rejects(store.read(handle), { code: 'SLED_SESSION_RECORD_CORRUPT' })
      assert.equal(await store.loadByHandle(handle), null)
      assert.equal(log.length, 1)
      assert.deepEqual(quarantined, [handle])
      assert.equal(await store.read(handle), null, 'it is out of the way')
      assert.deepEqual(content(await loaded(store, other.handle)), content(other.record))
    }
  }
]
