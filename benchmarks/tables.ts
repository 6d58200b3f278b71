import { readdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { growthChart, workloadChart } from './charts.js'
import { goalTable } from './goals.js'
import { underLoad } from './load.js'
import type { MillionResult } from './million-tables.js'
import { BASELINE, OURS, type Results, ratios, table } from './report.js'
import { measured, readResult, TABLES } from './result-tables.js'
import { spread } from './statistics.js'
import { WORKLOADS } from './workloads.js'

/**
 * Draws the committed results, and puts their tables into the documentation, between the comments
 * `<!-- benchmarks: NAME -->` and `<!-- end -->`. NAME is a workload, `summary`, `alternatives`,
 * `goals`, `machine`, or one of `TABLES`. A size within a sentence is between
 * `<!-- measured: FILE.KEY -->` and the same.
 *
 *     npm run bench:tables               writes them
 *     npm run bench:tables -- --check    fails if they are not what the results say
 */
const root = fileURLToPath(new URL('..', import.meta.url))
const PAGES = [
  'README.md',
  'docs/benchmarks.md',
  'docs/durability.md',
  'docs/operating.md',
  'docs/scale.md',
  'docs/storage.md'
]
const BLOCK = /(<!-- benchmarks: ([\w-]+) -->\n)[\s\S]*?(<!-- end -->)/g
const WITHIN = /(<!-- measured: ([\w.-]+) -->)[^<]*(<!-- end -->)/g
/** What looks like a measurement: a decimal fraction, or a number of µs or ms. */
const MEASUREMENT = /\d ?(?:µs|ms)\b|(?<![\w.])\d+\.\d+(?![\w.])/

/** Whom the README compares, in the order in which it does. */
const ALTERNATIVES = [
  BASELINE,
  OURS,
  '@fastify/session, memory',
  '@fastify/session, Redis',
  '@fastify/secure-session',
  'express-session, memory'
]

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

/** Each peer's ratio to bare Fastify in each workload, and its CPU time for a request. */
function summary(stored: Map<string, Stored>, peers: readonly string[]): string {
  const names = ['counter', 'read', 'untouched', 'create', 'mix'].filter((name) => stored.has(name))
  const rows = peers.map((peer) => {
    const cells = names.map((name) => {
      const measured = stored.get(name)?.peers ?? {}
      const { median } = spread(ratios(measured, peer))
      const cpu = spread((measured[peer] ?? []).map(({ cpuPerRequest }) => cpuPerRequest)).median
      return Number.isFinite(median) ? `${median.toFixed(2)} (${Math.round(cpu)} µs)` : ''
    })
    return [peer, ...cells]
  })
  const head = ['requests/s, bare Fastify = 1 (CPU for each)', ...names]
  const rule = head.map((_, at) => (at === 0 ? '---' : '---:'))
  const lines = [head, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  return underLoad('closedMix', lines.join('\n'))
}

/** What was measured together, on which machine: that may be another on another day. */
function machineOf(stored: Map<string, Stored>): string {
  const all = [...stored].sort(([, one], [, other]) => other.date.localeCompare(one.date))
  const dates = [...new Set(all.map(([, { date }]) => date))]
  return dates.map((on) => measuredTogether(all.filter(([, { date }]) => date === on))).join('\n\n')
}

function measuredTogether(measured: [string, Stored][]): string {
  // Any will do for the machine; the counter is what people look at.
  const [name, first] =
    measured.find(([name]) => name === 'counter') ?? (measured[0] as [string, Stored])
  const names = measured.map(([name]) => name).join(', ')
  const versions = Object.entries(first.versions).map(([name, version]) => `${name} ${version}`)
  const bare = spread(
    (first.peers[BASELINE] ?? []).map(({ requestsPerSecond }) => requestsPerSecond)
  )
  const rate = Math.round(bare.median).toLocaleString('en-US')
  return `Measured on ${first.date} on ${first.machine}: ${names}. Bare Fastify does ${rate} requests/s there, in the workload ${name}. ${versions.join(', ')}.`
}

/** Empty for what has not been measured. */
async function render(name: string, stored: Map<string, Stored>): Promise<string> {
  const single = TABLES[name]
  if (single !== undefined) {
    const text = await single().catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null
      throw error
    })
    return text === null ? '' : `${text}\n`
  }
  const results: Results = Object.fromEntries([...stored].map(([key, { peers }]) => [key, peers]))
  if (stored.size === 0) return ''
  if (name === 'summary') {
    return `${summary(stored, Object.keys(stored.get('counter')?.peers ?? {}))}\n`
  }
  if (name === 'alternatives') return `${summary(stored, ALTERNATIVES)}\n`
  if (name === 'goals') {
    return `${goalTable(results, (await readResult('million')) as MillionResult)}\n`
  }
  if (name === 'machine') return `${machineOf(stored)}\n`
  const workload = WORKLOADS[name]
  if (workload === undefined) throw new Error(`nothing is called "${name}"`)
  const peers = results[name]
  if (peers === undefined) return ''
  return `![${name}](../benchmarks/results/${name}.svg)\n\n${underLoad(workload.load, table(peers))}\n`
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
    for (const [part, open = '', place = '', close = ''] of before.matchAll(WITHIN)) {
      const value = await measured(place)
      after = after.replace(part, () => open + value + close)
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

/** Measurements on the page of benchmarks that no result holds. */
async function unbacked(): Promise<string[]> {
  const page = await readFile(`${root}docs/benchmarks.md`, 'utf8')
  return page
    .replace(BLOCK, '')
    .split('\n')
    .filter((line) => MEASUREMENT.test(line))
}

async function run(): Promise<void> {
  const check = process.argv.includes('--check')
  for (const line of await unbacked()) {
    console.error(`docs/benchmarks.md has a number that is in no result: ${line}`)
    process.exitCode = 1
  }
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
