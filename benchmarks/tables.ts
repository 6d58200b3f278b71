import { readdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { goalTable } from './goals.js'
import { BASELINE, type Results, ratios, table } from './report.js'
import { spread } from './statistics.js'
import { WORKLOADS } from './workloads.js'

/**
 * Puts the tables of the committed results into the documentation, between the comments
 * `<!-- benchmarks: NAME -->` and `<!-- end -->`. NAME is a workload, or `summary`, `goals` or
 * `machine`.
 *
 *     npm run bench:tables               writes them
 *     npm run bench:tables -- --check    fails if they are not what the results say
 */
const root = fileURLToPath(new URL('..', import.meta.url))
const PAGES = ['README.md', 'docs/benchmarks.md']
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
  const [first] = stored.values()
  if (first === undefined) return ''
  const versions = Object.entries(first.versions).map(([name, version]) => `${name} ${version}`)
  const bare = spread(
    (first.peers[BASELINE] ?? []).map(({ requestsPerSecond }) => requestsPerSecond)
  )
  return `Measured on ${first.date} on ${first.machine}; bare Fastify does ${Math.round(bare.median).toLocaleString('en-US')} requests/s there. ${versions.join(', ')}.`
}

/** Empty for what has not been measured. */
function render(name: string, stored: Map<string, Stored>): string {
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

async function run(): Promise<void> {
  const check = process.argv.includes('--check')
  const stored = await readResults()
  for (const page of PAGES) {
    const before = await readFile(root + page, 'utf8')
    const after = before.replace(BLOCK, (_, open: string, name: string, close: string) => {
      return `${open}${render(name, stored)}${close}`
    })
    if (after === before) continue
    if (!check) await writeFile(root + page, after)
    else {
      console.error(`${page} is not what benchmarks/results says: run "npm run bench:tables"`)
      process.exitCode = 1
    }
  }
}

await run()
