import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import autocannon from 'autocannon'
import { flameGraph, nameOf, type Profile } from './flame.js'
import { CONNECTIONS } from './measure.js'
import { machine } from './report.js'

/**
 * Where a server's CPU time goes, in `results/`: the functions that take most themselves, of which
 * `bench:tables` makes a table, and all of them as a flame graph.
 *
 *     npm run bench:profile -- counter
 */
const PEER = 'fastify-sled-session'
const SECONDS = 8
/** What takes less by itself is left out of the table. */
const LEAST = 0.01
const route = process.argv[2] ?? 'counter'

async function record(): Promise<Profile> {
  const folder = await mkdtemp(join(tmpdir(), 'sled-profile-'))
  const server = fork(fileURLToPath(new URL('server.ts', import.meta.url)), [PEER], {
    execArgv: ['--import', 'tsx', '--cpu-prof', `--cpu-prof-dir=${folder}`],
    env: { ...process.env, NODE_ENV: 'production' }
  })
  const [{ port }] = (await once(server, 'message')) as [{ port: number }]
  const cookies = await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const response = await fetch(`http://127.0.0.1:${port}/counter`)
      return response.headers.getSetCookie()[0]?.split(';')[0] ?? ''
    })
  )
  let next = 0
  await autocannon({
    url: `http://127.0.0.1:${port}/${route}`,
    connections: CONNECTIONS,
    duration: SECONDS,
    setupClient(client) {
      const cookie = cookies[next++] ?? ''
      if (route !== 'create') client.setHeaders({ cookie })
    }
  })
  server.disconnect()
  await once(server, 'exit')
  const profiles = await Promise.all(
    (await readdir(folder)).map(async (file) => {
      return JSON.parse(await readFile(join(folder, file), 'utf8')) as Profile
    })
  )
  await rm(folder, { recursive: true, force: true })
  // The compiler of the benchmarks' own sources leaves one as well, of a thread that is idle.
  profiles.sort((a, b) => busySamples(b) - busySamples(a))
  return profiles[0] as Profile
}

function busySamples({ nodes, samples }: Profile): number {
  const idle = new Set(
    nodes.filter(({ callFrame }) => callFrame.functionName === '(idle)').map(({ id }) => id)
  )
  return samples.filter((id) => !idle.has(id)).length
}

/** The share of each function that takes some, wherever in a file it is. */
function sharesOf({ nodes, samples, timeDeltas }: Profile): { name: string; share: number }[] {
  const names = new Map(
    nodes.map(({ id, callFrame }) => [id, nameOf(callFrame).replace(/:\d+\)$/, ')')])
  )
  const self = new Map<string, number>()
  for (const [at, id] of samples.entries()) {
    const name = names.get(id) ?? ''
    self.set(name, (self.get(name) ?? 0) + (timeDeltas[at] ?? 0))
  }
  self.delete('(idle)')
  const total = [...self.values()].reduce((sum, time) => sum + time, 0)
  return [...self]
    .map(([name, time]) => ({ name, share: Number((time / total).toFixed(3)) }))
    .filter(({ share }) => share >= LEAST)
    .sort((a, b) => b.share - a.share)
}

/** Without the start of the server. */
function underLoad({ nodes, samples, timeDeltas }: Profile): Profile {
  let left = SECONDS * 1e6
  let from = samples.length
  while (from > 0 && left > 0) left -= timeDeltas[--from] ?? 0
  return { nodes, samples: samples.slice(from), timeDeltas: timeDeltas.slice(from) }
}

const profile = underLoad(await record())
const shares = sharesOf(profile)
console.table(shares)
const folder = fileURLToPath(new URL('results/', import.meta.url))
await mkdir(folder, { recursive: true })
const result = { date: new Date().toISOString().slice(0, 10), machine: machine(), shares }
await writeFile(`${folder}profile-${route}.json`, `${JSON.stringify(result, null, 2)}\n`)
const title = `/${route}: the event loop's time, widths as shares; callers above what they call`
await writeFile(`${folder}flame-${route}.svg`, flameGraph(title, profile))
