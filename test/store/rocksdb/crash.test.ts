import { test } from 'tap'
import { temporaryFolder } from '../../support/app.js'
import { CrashRun } from '../../support/crash.js'

const KILLS = 6

for (const durability of ['process', 'power'] as const) {
  test(`after kill -9 under load every acknowledged change is there, and nothing ended is back (${durability})`, async (t) => {
    const run = new CrashRun(t, await temporaryFolder(t), durability)
    for (let kill = 0; kill < KILLS; kill++) await run.round()
    await run.finish()
    const { kills, acknowledged, losses } = run.result
    t.same(losses, [])
    t.equal(kills, KILLS)
    t.ok(acknowledged > KILLS * 100, `${acknowledged} changes were acknowledged`)
  })
}
