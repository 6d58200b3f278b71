import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import autocannon from 'autocannon'
import { CONNECTIONS } from './measure.js'

/**
 * Where a server's CPU time goes: the functions that take most themselves, as a Markdown table.
 *
 *     npm run bench:profile -- counter
 */
const PEER = 'fastify-sled-session'
const SECONDS = 8
const TOP = 25
const route = process.argv[2] ?? 'counter'

interface Profile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[]
  samples: number[]
  timeDeltas: number[]
}

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
  // The compiler of the benchmarks' own sources may have left one as well.
  profiles.sort((a, b) => b.samples.length - a.samples.length)
  return profiles[0] as Profile
}

function nameOf({ functionName, url, lineNumber }: Profile['nodes'][number]['callFrame']): string {
  const file = url.replace(/^.*\/node_modules\//, '').replace(/^.*\/(dist|benchmarks)\//, '$1/')
  const where = file === '' ? '' : ` (${file}:${lineNumber + 1})`
  return `${functionName || 'anonymous'}${where}`
}

function topOf({ nodes, samples, timeDeltas }: Profile): [name: string, share: number][] {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]))
  const self = new Map<string, number>()
  for (const [at, id] of samples.entries()) {
    const name = names.get(id) ?? ''
    self.set(name, (self.get(name) ?? 0) + (timeDeltas[at] ?? 0))
  }
  self.delete('(idle)')
  const total = [...self.values()].reduce((sum, time) => sum + time, 0)
  return [...self]
    .sort(([, a], [, b]) => b - a)
    .slice(0, TOP)
    .map(([name, time]) => [name, time / total])
}

console.log(`| ${route}: function | of the event loop's CPU time |\n|---|---:|`)
for (const [name, share] of topOf(await record())) {
  console.log(`| \`${name}\` | ${(100 * share).toFixed(1)} % |`)
}
