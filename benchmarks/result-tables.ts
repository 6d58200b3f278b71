import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { CodecRow } from './codecs.js'
import type { CoresResult } from './cores.js'
import { coresGoals, coresSummary, coresTable } from './cores-tables.js'
import type { CrashTotal } from './crash.js'
import type { DeployRow } from './deploy.js'
import { underLoad } from './load.js'
import { type MillionResult, millionTable } from './million-tables.js'
import { ORIGINAL_TABLES, type OriginalResults } from './original/tables.js'
import type { PageFaultRow } from './page-faults.js'
import { REDIS_TABLES, type RedisResult } from './redis-tables.js'
import { SCALE_TABLES } from './scale-tables.js'
import type { Spread } from './statistics.js'
import type { StoreRow } from './store.js'

/** The tables of what is measured by a command of its own, beside the workloads. */
const folder = fileURLToPath(new URL('results/', import.meta.url))

/** What such a command has written. */
export async function readResult(name: string): Promise<unknown> {
  return JSON.parse(await readFile(`${folder}${name}.json`, 'utf8'))
}

async function crashTable(): Promise<string> {
  const { modes } = (await readResult('crash')) as {
    modes: CrashTotal[]
  }
  const rows = modes.map(({ store, durability, kills, acknowledged, losses }) => {
    return `| ${store} | \`${durability}\` | ${kills} | ${acknowledged.toLocaleString('en-US')} | ${losses} |`
  })
  const head =
    '| store | durability | kills | acknowledged changes | of them lost, or ended sessions back |'
  return [head, '|---|---|---:|---:|---:|', ...rows].join('\n')
}

async function reaperTable(): Promise<string> {
  const { sizes, expired } = (await readResult('reaper')) as {
    expired: number
    sizes: { live: number; reap: Spread; scan: Spread }[]
  }
  const milliseconds = ({ median, least, most }: Spread): string =>
    [median, least, most].map((value) => Math.round(value).toLocaleString('en-US')).join(' | ')
  const rows = sizes.map(({ live, reap, scan }) => {
    return `| ${live.toLocaleString('en-US')} | ${milliseconds(reap)} | ${milliseconds(scan)} |`
  })
  const head = `| alive | reaper, ms for ${expired.toLocaleString('en-US')} expired | least | most | full scan, ms | least | most |`
  return [head, '|---:|---:|---:|---:|---:|---:|---:|', ...rows].join('\n')
}

async function settingsTable(): Promise<string> {
  const { variants } = (await readResult('settings')) as {
    variants: Record<string, { write: number; known: Spread; missing: Spread; disk: number }>
  }
  const us = ({ median, least, most }: Spread): string =>
    `${median.toFixed(1)} (${least.toFixed(1)} to ${most.toFixed(1)})`
  const rows = Object.entries(variants).map(([name, { write, known, missing, disk }]) => {
    return `| ${name} | ${write.toFixed(1)} | ${us(known)} | ${us(missing)} | ${Math.round(disk / 1e6)} |`
  })
  const head = '| | write, µs | read, µs | read of none, µs | disk, MB |'
  return [head, '|---|---:|---:|---:|---:|', ...rows].join('\n')
}

async function storeTable(): Promise<string> {
  const { rows } = (await readResult('store')) as { rows: StoreRow[] }
  const rate = ({ median }: Spread): string => Math.round(median).toLocaleString('en-US')
  const lines = rows.map(({ operation, inFlight, store, raw }) => {
    const others = Object.values(raw).flatMap(({ rate: other, times }) => [
      rate(other),
      `${times.median.toFixed(2)} (${times.least.toFixed(2)} to ${times.most.toFixed(2)})`
    ])
    return `| ${[operation, inFlight, rate(store), ...others].join(' | ')} |`
  })
  const head =
    '| operations/s | in flight | store | raw, batched | times raw | raw, each | times raw |'
  return [head, '|---|---:|---:|---:|---:|---:|---:|', ...lines].join('\n')
}

async function codecTable(): Promise<string> {
  const { rows } = (await readResult('codecs')) as { rows: CodecRow[] }
  const lines = rows.map(({ session, codec, encode, decode, bytes }) => {
    return `| ${session} | ${codec} | ${encode.toFixed(2)} | ${decode.toFixed(2)} | ${bytes} |`
  })
  return [
    '| session | codec | encode | decode | bytes |',
    '|---|---|---:|---:|---:|',
    ...lines
  ].join('\n')
}

async function profileTable(route: string): Promise<string> {
  const { shares } = (await readResult(`profile-${route}`)) as {
    shares: { name: string; share: number }[]
  }
  const rows = shares.map(({ name, share }) => `| \`${name}\` | ${(100 * share).toFixed(1)} % |`)
  const rest = 1 - shares.reduce((sum, { share }) => sum + share, 0)
  const last = `| all that takes less than 1 % | ${(100 * rest).toFixed(1)} % |`
  const table = [`| ${route}: function | share |`, '|---|---:|', ...rows, last].join('\n')
  return underLoad('autocannon', table)
}

async function deployTable(): Promise<string> {
  const { rows } = (await readResult('deploy')) as { rows: DeployRow[] }
  const lines = rows.map(({ way, failed, gap }) => {
    const times = [gap.median, gap.least, gap.most].map((value) => Math.round(value))
    return `| ${[way, failed.median, ...times].join(' | ')} |`
  })
  const head = '| | requests that failed | longest time without an answer, ms | least | most |'
  return underLoad('probe', [head, '|---|---:|---:|---:|---:|', ...lines].join('\n'))
}

async function pageFaultTable(): Promise<string> {
  const { rows } = (await readResult('page-faults')) as { rows: PageFaultRow[] }
  const lines = rows.map(({ store, rate, faults, ...times }) => {
    const { loopDelayP99, loopDelayMost, p50, p99 } = times
    const ms = [loopDelayP99, loopDelayMost, p50, p99].map((value) => value.toFixed(1))
    return `| ${[store, rate, faults.toFixed(2), ...ms].join(' | ')} |`
  })
  const head =
    '| store | reads/s | page faults each | loop delay p99, ms | most | answer p50, ms | p99 |'
  const rule = '|---|---:|---:|---:|---:|---:|---:|'
  return underLoad('open', [head, rule, ...lines].join('\n'))
}

/** Of what two workers do beside one. */
function ofCores(render: (result: CoresResult) => string): () => Promise<string> {
  return async () => {
    const { workloads } = (await readResult('cores')) as { workloads: CoresResult }
    return render(workloads)
  }
}

/** By the name that the documentation has for it. */
export const TABLES: Record<string, () => Promise<string>> = {
  crash: crashTable,
  settings: settingsTable,
  store: storeTable,
  million: async () => millionTable((await readResult('million')) as MillionResult),
  reaper: reaperTable,
  codecs: codecTable,
  cores: ofCores(coresTable),
  'cores-summary': ofCores(coresSummary),
  'cores-goals': ofCores(coresGoals),
  deploy: deployTable,
  'page-faults': pageFaultTable,
  'profile-counter': () => profileTable('counter'),
  'profile-create': () => profileTable('create'),
  ...Object.fromEntries(
    Object.entries({ ...REDIS_TABLES, ...SCALE_TABLES }).map(([name, make]) => [
      name,
      async () => make((await readResult('redis')) as RedisResult)
    ])
  ),
  ...Object.fromEntries(
    Object.entries(ORIGINAL_TABLES).map(([name, make]) => [
      name,
      async () => make((await readResult('original')) as OriginalResults)
    ])
  )
}

/** A number within a sentence, by its place in the results: `size.installed`. */
export async function measured(place: string): Promise<string> {
  const [file = '', key = ''] = place.split('.')
  const value = ((await readResult(file)) as Record<string, unknown>)[key]
  if (typeof value !== 'number') throw new Error(`benchmarks/results has no ${place}`)
  return `${Math.round(value / 1e6)} MB`
}
