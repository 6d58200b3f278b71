// The crash test in full: kills servers on RocksDB and writers on LMDB in the midst of work, in both
// durability modes, and writes what was lost to benchmarks/results/crash.json. `npm run test:crash
// -- 20` kills that often in each mode, and `-- 20 LMDB` on one store.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Lifetime } from '../test/support/child.js'
import { CrashRun } from '../test/support/crash.js'
import { LmdbCrashRun } from '../test/support/lmdb-crash.js'

const [, , KILLS = '200', ONLY] = process.argv
/** Then a fresh database: looking at all that has gathered takes longer and longer. */
const KILLS_PER_DATABASE = 20
const RESULT = new URL('results/crash.json', import.meta.url)

type Durability = 'process' | 'power'

/** What the kills of one mode have shown. */
export interface CrashTotal {
  readonly store: string
  readonly durability: Durability
  readonly date: string
  readonly node: string
  kills: number
  acknowledged: number
  losses: number
  /** How long all that were not killed have stood still at most, in ms, where there are such. */
  longestStall?: number
}

/** Some kills on a database of its own. */
type Run = (
  lifetime: Lifetime,
  folder: string,
  durability: Durability,
  rounds: number
) => Promise<{
  readonly kills: number
  readonly acknowledged: number
  readonly losses: readonly string[]
  readonly longestStall?: number
}>

const RUNS: Record<string, Run> = {
  async RocksDB(lifetime, folder, durability, rounds) {
    const run = new CrashRun(lifetime, folder, durability)
    for (let round = 0; round < rounds; round++) await run.round()
    await run.finish()
    return run.result
  },
  async LMDB(lifetime, folder, durability, rounds) {
    const run = new LmdbCrashRun(lifetime, folder, durability)
    await run.start()
    for (let round = 0; round < rounds; round++) await run.round()
    await run.finish()
    return run.result
  }
}

async function killOften(store: string, durability: Durability): Promise<CrashTotal> {
  const about = { store, durability, date: new Date().toISOString(), node: process.version }
  const total: CrashTotal = { ...about, kills: 0, acknowledged: 0, losses: 0 }
  while (total.kills < Number(KILLS)) {
    const folder = await mkdtemp(join(tmpdir(), 'sled-session-crash-'))
    const ends: (() => unknown)[] = []
    const rounds = Math.min(KILLS_PER_DATABASE, Number(KILLS) - total.kills)
    const lifetime = { teardown: (end: () => unknown) => ends.push(end) }
    const result = await (RUNS[store] as Run)(lifetime, folder, durability, rounds)
    for (const end of ends) end()
    await rm(folder, { recursive: true })
    total.kills += result.kills
    total.acknowledged += result.acknowledged
    total.losses += result.losses.length
    if (result.longestStall !== undefined) {
      total.longestStall = Math.round(Math.max(total.longestStall ?? 0, result.longestStall))
    }
    for (const loss of result.losses) console.log(loss)
    console.log(summary(total))
  }
  return total
}

function summary({
  store,
  durability,
  kills,
  acknowledged,
  losses,
  longestStall
}: CrashTotal): string {
  const stall = longestStall === undefined ? '' : `, ${longestStall} ms without a write at most`
  return `${store}, durability ${durability}: ${kills} kills, ${acknowledged} acknowledged changes, ${losses} lost${stall}`
}

/** The results of the stores that were not run stay. */
async function save(modes: CrashTotal[]): Promise<void> {
  const { modes: all } = JSON.parse(await readFile(RESULT, 'utf8')) as { modes: CrashTotal[] }
  const others = all.filter(({ store }) => modes.every((mode) => mode.store !== store))
  const sorted = [...others, ...modes].sort((a, b) => b.store.localeCompare(a.store))
  await writeFile(RESULT, `${JSON.stringify({ modes: sorted }, null, 2)}\n`)
}

async function run(): Promise<void> {
  const modes: CrashTotal[] = []
  for (const store of Object.keys(RUNS).filter((name) => ONLY === undefined || ONLY === name)) {
    for (const durability of ['process', 'power'] as const) {
      modes.push(await killOften(store, durability))
    }
  }
  await save(modes)
  for (const mode of modes) console.log(summary(mode))
  process.exitCode = modes.every(({ losses }) => losses === 0) ? 0 : 1
}

await run()
