import { test } from 'tap'
import { temporaryFolder } from '../../support/lmdb.js'
import { LmdbCrashRun } from '../../support/lmdb-crash.js'

const KILLS = 10
/** Far beyond what the lock of one that was killed takes to be found, which is some ms. */
const LONGEST_STALL = 10_000

for (const durability of ['process', 'power'] as const) {
  test(`when one of four processes is killed, the others write on and nothing acknowledged is lost (${durability})`, async (t) => {
    const run = new LmdbCrashRun(t, await temporaryFolder(t), durability)
    await run.start()
    for (let kill = 0; kill < KILLS; kill++) await run.round()
    await run.finish()
    const { kills, acknowledged, longestStall, losses } = run.result
    t.same(losses, [])
    t.equal(kills, KILLS)
    t.ok(acknowledged > KILLS * 100, `${acknowledged} writes were acknowledged`)
    t.ok(longestStall < LONGEST_STALL, `the longest stall took ${longestStall} ms`)
  })
}
