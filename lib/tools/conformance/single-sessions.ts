import assert from 'node:assert/strict'
import { atDateTime, onSessionEnd } from '../../record/expiry.js'
import { createSessionId, handleOf } from '../../record/handle.js'
import {
  aliasesOf,
  all,
  type Case,
  content,
  handlesOf,
  LIFETIME,
  loaded,
  MINUTE,
  newRecord,
  saveChanges,
  storedData,
  storedRecord
} from './harness.js'

/** Load, save, replace and destroy. */
export const singleSessionCases: Case[] = [
  {
    name: 'an empty store knows nobody',
    async run({ store }) {
      const id = createSessionId()
      assert.equal(await store.load(id), null)
      assert.equal(await store.loadByHandle(handleOf(id)), null)
      assert.equal(await store.read(handleOf(id)), null)
    }
  },
  {
    name: 'create stores nothing',
    async run(harness) {
      const { id, record } = newRecord(harness)
      assert.equal(await harness.store.load(id), null)
      assert.equal(await harness.store.read(record.handle), null)
      assert.equal(await harness.store.count(), 0)
    }
  },
  {
    name: 'a saved record comes back whole, by id and by handle',
    async run(harness) {
      const { store } = harness
      for (const expiry of [null, onSessionEnd(), atDateTime(new Date(harness.clock.time + 1e9))]) {
        const { id, record } = newRecord(harness, { principal: 'ann é' })
        record.expiry = expiry
        await store.save(record, new Map(record.data))
        assert.deepEqual(content(await store.load(id)), content(record))
        assert.deepEqual(content(await store.loadByHandle(record.handle)), content(record))
        assert.deepEqual(content(await store.read(record.handle)), content(record))
        assert.equal(await store.load(record.handle), null, 'a handle is no id')
      }
    }
  },
  {
    name: 'keys may be any string, values any encoded value, and keys keep their order',
    async run(harness) {
      const { store } = harness
      const { record } = newRecord(harness, { data: {} })
      const keys = ['z', '', '\ud800', '\0', '__proto__', 'a b\n', 'ü', '=', '10', '9', 'born']
      for (const key of keys) record.apply(key, `"${'x'.repeat(keys.indexOf(key) * 20)}"`)
      record.apply('rich', '![7,0]')
      await store.save(record, new Map(record.data))
      assert.deepEqual(content(await store.read(record.handle)), content(record))
      for (let at = 0; at < 200; at++) record.apply(`key ${at}`, '"\\ud800 é 😀"')
      await store.save(record, new Map(record.data))
      assert.deepEqual(content(await store.read(record.handle)), content(record))
    }
  },
  {
    name: 'a string that decodes to the bytes of a handle and is not that handle names nothing',
    async run(harness) {
      const { store } = harness
      const { record, handle } = await storedRecord(harness)
      for (const alias of [...aliasesOf(handle), `${handle}A`, `${handle}=`, '']) {
        assert.equal(await store.loadByHandle(alias), null)
        assert.equal(await store.read(alias), null)
        await assert.rejects(all(store, alias), { code: 'SLED_SESSION_INVALID_HANDLE' })
        const start = { handle: alias, createdAt: 0, lastSeenAt: 0, expiresAt: 0 }
        assert.throws(() => store.create(start), { code: 'SLED_SESSION_INVALID_HANDLE' })
      }
      assert.deepEqual(content(await loaded(store, handle)), content(record))
    }
  },
  {
    name: 'saves set and delete keys, and move the deadline without changes',
    async run(harness) {
      const { store, clock } = harness
      const { record, handle } = await storedRecord(harness, { data: { a: '1', b: '2', c: '3' } })
      await saveChanges(store, record, { a: '10', b: undefined, d: '4' })
      assert.deepEqual(await storedData(store, handle), { a: '10', c: '3', d: '4' })
      record.lastSeenAt = clock.time + 1
      record.expiresAt += MINUTE
      await store.save(record, null)
      assert.deepEqual(content(await store.read(handle)), content(record))
    }
  },
  {
    name: 'expiry, principal and metadata are saved',
    async run(harness) {
      const { store } = harness
      const { record, handle } = await storedRecord(harness)
      record.expiry = onSessionEnd()
      record.expiresAt -= MINUTE
      record.principal = 'ann'
      record.metadata = null
      await store.save(record, null)
      assert.deepEqual(content(await store.read(handle)), content(record))
      record.principal = null
      await store.save(record, null)
      assert.deepEqual(content(await store.read(handle)), content(record))
    }
  },
  {
    name: 'read gives a copy of what is stored, without unsaved changes',
    async run(harness) {
      const { store } = harness
      const { record, handle } = await storedRecord(harness)
      record.apply('counter', '2')
      const copy = await store.read(handle)
      assert.equal(copy?.data.get('counter'), '1')
      copy?.apply('counter', '3')
      assert.deepEqual(await storedData(store, handle), { counter: '1' })
      assert.equal(record.data.get('counter'), '2')
    }
  },
  {
    name: 'one live record stands for a session',
    needs: 'one writer',
    async run(harness) {
      const { store } = harness
      const { id, record, handle } = await storedRecord(harness)
      assert.equal(await store.load(id), record)
      assert.equal(await store.loadByHandle(handle), record)
      assert.equal(await store.loadByHandle(handle), record)
    }
  },
  {
    name: 'a session is there until its time has come, and not after',
    async run(harness) {
      const { store, clock } = harness
      const { id, record, handle } = await storedRecord(harness)
      clock.time = record.expiresAt - 1
      assert.ok(await store.load(id), 'the session is there')
      clock.time = record.expiresAt
      assert.equal(await store.load(id), null)
      assert.equal(await store.loadByHandle(handle), null)
    }
  },
  {
    name: 'a moved deadline counts',
    async run(harness) {
      const { store, clock } = harness
      const { id, record } = await storedRecord(harness)
      record.expiresAt += MINUTE
      await store.save(record, null)
      clock.time += LIFETIME
      assert.ok(await store.load(id), 'the session is there')
      clock.time += MINUTE
      assert.equal(await store.load(id), null)
    }
  },
  {
    name: 'a touch stores the times of an unchanged record alone',
    async run(harness) {
      const { store } = harness
      const { record, handle } = await storedRecord(harness)
      if (store.touch === undefined) return
      const expiresAt = record.expiresAt + MINUTE
      record.expiresAt = expiresAt
      await store.touch(record, () => true)
      assert.equal((await store.read(handle))?.expiresAt, expiresAt)
      record.expiresAt += MINUTE
      const touched = store.touch(record, () => record.data.get('counter') === '1')
      record.apply('counter', '2')
      await touched
      assert.deepEqual(await storedData(store, handle), { counter: '1' })
      await Promise.all([
        store.touch(record, () => false),
        saveChanges(store, record, { counter: '3' })
      ])
      assert.deepEqual(await storedData(store, handle), { counter: '3' }, 'a save is for all')
    }
  },
  {
    name: 'saves of one session never overtake each other',
    async run(harness) {
      const { store } = harness
      const { record, handle } = await storedRecord(harness)
      const saves = Array.from({ length: 50 }, (_, number) =>
        saveChanges(store, record, { counter: String(number) })
      )
      await Promise.all(saves)
      assert.deepEqual(await storedData(store, handle), { counter: '49' })
    }
  },
  {
    name: 'a record with a failure is refused with it',
    async run(harness) {
      const { store } = harness
      const { record, handle } = await storedRecord(harness)
      const failure = new Error('an earlier write of it failed')
      record.failure = failure
      await assert.rejects(saveChanges(store, record, { counter: '2' }), failure)
      assert.deepEqual(await storedData(store, handle), { counter: '1' })
    }
  },
  {
    name: 'a destroyed session is gone, and saving it changes nothing',
    async run(harness) {
      const { store } = harness
      const { id, record, handle } = await storedRecord(harness, { principal: 'ann' })
      await store.destroy(record)
      assert.equal(record.destroyed, true)
      assert.equal(await store.load(id), null)
      assert.equal(await store.read(handle), null)
      await saveChanges(store, record, { counter: '2' })
      assert.equal(await store.read(handle), null)
      assert.equal(await store.count(), 0)
      assert.deepEqual(await handlesOf(store, 'ann'), [])
    }
  },
  {
    name: 'replace puts the new session in the place of the old one',
    async run(harness) {
      const { store } = harness
      const { id, record: old } = await storedRecord(harness, { principal: 'ann' })
      const { id: freshId, record: fresh } = newRecord(harness, { data: {} })
      fresh.inherit(old, null)
      fresh.apply('added', 'true')
      assert.equal(await store.replace(old, fresh, true), true)
      assert.equal(await store.load(id), null)
      assert.equal(old.destroyed, true)
      assert.deepEqual(content(await store.load(freshId)), content(fresh))
      assert.deepEqual(await handlesOf(store, 'ann'), [fresh.handle])
      assert.equal(await store.count(), 1)
      await saveChanges(store, fresh, { counter: '2' })
      assert.deepEqual(await storedData(store, fresh.handle), { counter: '2', added: 'true' })
      await saveChanges(store, old, { counter: '3' })
      assert.equal(await store.read(old.handle), null, 'the old one stays dead')
    }
  },
  {
    name: 'replace keeps no data, or some',
    async run(harness) {
      const { store } = harness
      const data = { a: '1', b: '2', c: '3' }
      for (const keep of [false, ['a', 'b']] as const) {
        const { record: old } = await storedRecord(harness, { principal: 'ann', data })
        const { record: fresh } = newRecord(harness, { data: {} })
        if (keep !== false) fresh.inherit(old, keep)
        fresh.apply('b', '20')
        await store.replace(old, fresh, keep)
        assert.deepEqual(content(await store.read(fresh.handle)), content(fresh))
      }
    }
  }
]
