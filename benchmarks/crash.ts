// The crash test in full: kills servers under load, in both durability modes, and writes what was
// lost to benchmarks/results/crash.json. `npm run test:crash -- 20` kills that often in each mode.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CrashRun } from '../test/support/crash.js'

const KILLS = Number(process.argv[2] ?? 200)
/** Then a fresh database: looking at all that has gathered takes longer and longer. */
const KILLS_PER_DATABASE = 20
const RESULTS = new URL('results/', import.meta.url)

interface Total {
  durability: string
  kills: number
  acknowledged: number
  losses: number
}

async function killOften(durability: 'process' | 'power'): Promise<Total> {
  const total: Total = { durability, kills: 0, acknowledged: 0, losses: 0 }
  while (total.kills < KILLS) {
    const folder = await mkdtemp(join(tmpdir(), 'sled-session-crash-'))
    const ends: (() => unknown)[] = []
    const run = new CrashRun({ teardown: (end) => ends.push(end) }, folder, durability)
    const rounds = Math.min(KILLS_PER_DATABASE, KILLS - total.kills)
    for (let round = 0; round < rounds; round++) await run.round()
    await run.finish()
    for (const end of ends) end()
    await rm(folder, { recursive: true })
    const { kills, acknowledged, losses } = run.result
    total.kills += kills
    total.acknowledged += acknowledged
    total.losses += losses.length
    for (const loss of losses) console.log(loss)
    console.log(summary(total))
  }
  return total
}

function summary({ durability, kills, acknowledged, losses }: Total): string {
  return `durability ${durability}: ${kills} kills, ${acknowledged} acknowledged changes, ${losses} lost`
}

const modes = [await killOften('process'), await killOften('power')]
await mkdir(RESULTS, { recursive: true })
const json = { date: new Date().toISOString(), node: process.version, modes }
await writeFile(new URL('crash.json', RESULTS), `${JSON.stringify(json, null, 2)}\n`)
const kills = modes.reduce((sum, mode) => sum + mode.kills, 0)
const acknowledged = modes.reduce((sum, mode) => sum + mode.acknowledged, 0)
const losses = modes.reduce((sum, mode) => sum + mode.losses, 0)
console.log(`${kills} kills, ${acknowledged} acknowledged changes, ${losses} lost`)
process.exitCode = losses === 0 ? 0 : 1
