import assert from 'node:assert/strict'
import type { SessionRecord } from '../../record/record.js'
import type { SessionStore } from '../../store/session-store.js'
import { type Case, inTwoHands, loaded, storedData } from './harness.js'

const needs = 'several writers'

function compareAndSet(
  store: SessionStore,
  ...given: [SessionRecord, string, string | undefined, string | undefined]
): Promise<boolean> {
  assert.ok(store.compareAndSet, 'the store has compareAndSet')
  return store.compareAndSet(...given)
}

/** What an update rests on: a value is set only if nobody else has changed it. */
export const compareAndSetCases: Case[] = [
  {
    name: 'a value is set only if it is the expected one',
    needs,
    async run(harness) {
      const { one, other, store, second, handle } = await inTwoHands(harness)
      assert.equal(await compareAndSet(store, one, 'counter', '1', '2'), true)
      assert.equal(one.data.get('counter'), '2')
      assert.equal(await compareAndSet(second, other, 'counter', '1', '9'), false)
      assert.equal(other.data.get('counter'), '2', 'the record has what is stored')
      assert.equal(await compareAndSet(second, other, 'counter', undefined, '9'), false)
      assert.equal(await compareAndSet(second, other, 'counter', '2', undefined), true)
      assert.equal(other.data.has('counter'), false)
      assert.equal(await compareAndSet(store, one, 'counter', '2', '3'), false)
      assert.equal(one.data.has('counter'), false)
      assert.equal(await compareAndSet(store, one, 'counter', undefined, '"a\\nb"'), true)
      assert.deepEqual(await storedData(second, handle), { counter: '"a\\nb"' })
      await store.destroy(one)
      assert.equal(await compareAndSet(second, other, 'counter', '2', '3'), false)
      assert.equal(other.destroyed, true)
      assert.equal(await second.read(handle), null)
    }
  },
  {
    name: 'of many updates at once none is lost',
    needs,
    async run(harness) {
      const { store, second, handle } = await inTwoHands(harness, { data: { counter: '0' } })
      const count = async (via: SessionStore): Promise<void> => {
        const record = await loaded(via, handle)
        for (let done = 0; done < 5; ) {
          const counter = record.data.get('counter')
          const next = String(Number(counter) + 1)
          if (await compareAndSet(via, record, 'counter', counter, next)) done++
        }
      }
      await Promise.all(Array.from({ length: 20 }, (_, at) => count(at % 2 ? store : second)))
      assert.deepEqual(await storedData(store, handle), { counter: '100' })
    }
  }
]
