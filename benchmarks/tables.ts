import { readdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { growthChart, workloadChart } from './charts.js'
import { goalTable } from './goals.js'
import { BASELINE, type Results, ratios, table } from './report.js'
import { type Spread, spread } from './statistics.js'
import type { StoreRow } from './store.js'
import { WORKLOADS } from './workloads.js'

/**
 * Draws the committed results, and puts their tables into the documentation, between the comments
 * `<!-- benchmarks: NAME -->` and `<!-- end -->`. NAME is a workload, or `summary`, `goals`,
 * `machine`, `crash`, `reaper`, `million`, `settings` or `store`.
 *
 *     npm run bench:tables               writes them
 *     npm run bench:tables -- --check    fails if they are not what the results say
 */
const root = fileURLToPath(new URL('..', import.meta.url))
const PAGES = ['docs/benchmarks.md', 'docs/durability.md', 'docs/storage.md']
const BLOCK = /(<!-- benchmarks: ([\w-]+) -->\n)[\s\S]*?(<!-- end -->)/g

interface Stored {
  readonly workload: string
  readonly date: string
  readonly machine: string
  readonly versions: Record<string, string>
  readonly peers: Results[string]
}

async function readResults(): Promise<Map<string, Stored>> {
  const folder = `${root}benchmarks/results/`
  const stored = new Map<string, Stored>()
  for (const file of await readdir(folder).catch(() => [])) {
    const name = file.replace(/\.json$/, '')
    if (name in WORKLOADS) stored.set(name, JSON.parse(await readFile(folder + file, 'utf8')))
  }
  return stored
}

/** Each peer's ratio to bare Fastify in each workload. */
function summary(stored: Map<string, Stored>): string {
  const names = ['counter', 'read', 'untouched', 'create', 'mix'].filter((name) => stored.has(name))
  const peers = Object.keys(stored.get('counter')?.peers ?? {})
  const rows = peers.map((peer) => {
    const cells = names.map((name) => {
      const { median } = spread(ratios(stored.get(name)?.peers ?? {}, peer))
      return Number.isFinite(median) ? median.toFixed(2) : ''
    })
    return [peer, ...cells]
  })
  const head = ['requests/s, bare Fastify = 1', ...names]
  const rule = head.map((_, at) => (at === 0 ? '---' : '---:'))
  return [head, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

function machineOf(stored: Map<string, Stored>): string {
  // Any will do for the machine; the counter is what people look at.
  const first = stored.get('counter') ?? [...stored.values()][0]
  if (first === undefined) return ''
  const versions = Object.entries(first.versions).map(([name, version]) => `${name} ${version}`)
  const bare = spread(
    (first.peers[BASELINE] ?? []).map(({ requestsPerSecond }) => requestsPerSecond)
  )
  return `Measured on ${first.date} on ${first.machine}; bare Fastify does ${Math.round(bare.median).toLocaleString('en-US')} requests/s there. ${versions.join(', ')}.`
}

async function crashTable(): Promise<string> {
  const { modes } = (await readResult('crash')) as {
    modes: { durability: string; kills: number; acknowledged: number; losses: number }[]
  }
  const rows = modes.map(({ durability, kills, acknowledged, losses }) => {
    return `| \`${durability}\` | ${kills} | ${acknowledged.toLocaleString('en-US')} | ${losses} |`
  })
  const head =
    '| durability | kills | acknowledged changes | of them lost, or ended sessions back |'
  return [head, '|---|---:|---:|---:|', ...rows].join('\n')
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

async function millionTable(): Promise<string> {
  const { server, departure } = (await readResult('million')) as {
    server: {
      openMilliseconds: Spread
      rss: number
      loop: { before: { p99: number }; reaping: { p99: number; milliseconds: number } }
    }
    departure: { full: number; left: number; alive: number; headAfter: number }
  }
  const { openMilliseconds: open, loop } = server
  const mb = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`
  const ms = (value: number): string => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`
  const rows = [
    ['opening, median', `${ms(open.median)} (${ms(open.least)} to ${ms(open.most)})`],
    ['RSS of the server, which has served and reaped', mb(server.rss)],
    ['event loop delay p99 under full load', ms(loop.before.p99)],
    ['the same while 100,000 expired ones are deleted', ms(loop.reaping.p99)],
    ['how long that takes under full load', `${Math.round(loop.reaping.milliseconds / 1000)} s`],
    ['disk use', mb(departure.full)],
    [
      `disk use when all are gone but ${departure.alive.toLocaleString('en-US')} others`,
      mb(departure.left)
    ],
    ['the next 1,000 expired, after that', ms(departure.headAfter)]
  ]
  const lines = rows.map((cells) => `| ${cells.join(' | ')} |`)
  return ['| with 1,000,000 sessions | |', '|---|---:|', ...lines].join('\n')
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

async function readResult(name: string): Promise<unknown> {
  return JSON.parse(await readFile(`${root}benchmarks/results/${name}.json`, 'utf8'))
}

/** Empty for what has not been measured. */
async function render(name: string, stored: Map<string, Stored>): Promise<string> {
  if (name === 'crash') return `${await crashTable()}\n`
  if (name === 'settings') return `${await settingsTable()}\n`
  if (name === 'store') return `${await storeTable()}\n`
  if (name === 'million') return `${await millionTable()}\n`
  if (name === 'reaper') return `${await reaperTable()}\n`
  const results: Results = Object.fromEntries([...stored].map(([key, { peers }]) => [key, peers]))
  if (stored.size === 0) return ''
  if (name === 'summary') return `${summary(stored)}\n`
  if (name === 'goals') return `${goalTable(results)}\n`
  if (name === 'machine') return `${machineOf(stored)}\n`
  if (!(name in WORKLOADS)) throw new Error(`nothing is called "${name}"`)
  const peers = results[name]
  return peers === undefined
    ? ''
    : `![${name}](../benchmarks/results/${name}.svg)\n\n${table(peers)}\n`
}

/** Each file of the documentation that is made of results, with what it should hold. */
async function renderAll(stored: Map<string, Stored>): Promise<Map<string, string>> {
  const files = new Map<string, string>()
  for (const page of PAGES) {
    const before = await readFile(root + page, 'utf8')
    let after = before
    for (const [block, open = '', name = '', close = ''] of before.matchAll(BLOCK)) {
      const rendered = await render(name, stored)
      after = after.replace(block, () => open + rendered + close)
    }
    files.set(page, after)
  }
  for (const [name, { workload, peers }] of stored) {
    files.set(`benchmarks/results/${name}.svg`, workloadChart(name, workload, peers))
  }
  const { sizes } = (await readResult('reaper')) as { sizes: Parameters<typeof growthChart>[0] }
  files.set('benchmarks/results/reaper.svg', growthChart(sizes))
  return files
}

async function run(): Promise<void> {
  const check = process.argv.includes('--check')
  for (const [file, text] of await renderAll(await readResults())) {
    if ((await readFile(root + file, 'utf8').catch(() => '')) === text) continue
    if (!check) await writeFile(root + file, text)
    else {
      console.error(`${file} is not what benchmarks/results says: run "npm run bench:tables"`)
      process.exitCode = 1
    }
  }
}

await run()
