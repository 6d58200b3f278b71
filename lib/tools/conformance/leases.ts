import assert from 'node:assert/strict'
import type { SessionStore } from '../../store/session-store.js'
import type { Case } from './harness.js'

/** What exclusive routes and the reaper rest on. */
export const leaseCases: Case[] = [
  {
    name: "a lease is one owner's among all processes until it is given back or has run out",
    needs: 'several writers',
    async run(harness) {
      const { store } = harness
      const second = await harness.second()
      if (store.takeLease === undefined) return
      const take = (via: SessionStore, owner: string, milliseconds = 60_000) =>
        via.takeLease?.('a name', owner, milliseconds)
      assert.equal(await take(store, 'one'), true)
      assert.equal(await take(second, 'other'), false)
      assert.equal(await take(store, 'one'), true, 'renewed')
      await second.releaseLease?.('a name', 'other')
      assert.equal(await take(second, 'other'), false, 'nobody gives back what another has')
      assert.equal(await second.takeLease?.('another name', 'other', 60_000), true)
      await store.releaseLease?.('a name', 'one')
      assert.equal(await take(second, 'other', 1), true)
      // By the clock of the place where it is kept: it runs out by itself.
      let taken: boolean | undefined
      do taken = await take(store, 'one')
      while (taken === false)
      assert.equal(await take(second, 'other'), false)
    }
  }
]
