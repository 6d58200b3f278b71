import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createClient } from 'redis'
import type { RedisClient } from '../lib/redis.js'
import { startRedis } from '../scripts/servers/redis.js'
import { BESIDE, measureHttp, WORKLOADS } from './redis-http.js'
import { measureMasters } from './redis-masters.js'
import { measureSessions } from './redis-memory.js'
import { measureOperations } from './redis-operations.js'
import { REDIS_TABLES, type RedisResult } from './redis-tables.js'
import { RedisWatch } from './redis-usage.js'
import { machine } from './report.js'
import { SCALE_TABLES, STORES } from './scale-tables.js'

/**
 * Our store on Redis beside connect-redis: the same server, the same client, in one run. First the
 * stores alone, then a server of each, then servers on each of our stores, and then ours on a cluster
 * of one and of three masters.
 *
 *     npm run bench:redis                            some two minutes
 *     npm run bench:redis -- --quick                 fewer rounds, half a minute; writes nothing
 *     npm run bench:redis -- --only http,masters     these parts; the others stay as they were
 */
const FILE = fileURLToPath(new URL('results/redis.json', import.meta.url))
const quick = process.argv.includes('--quick')
const only = process.argv.includes('--only')
  ? process.argv.at(process.argv.indexOf('--only') + 1)?.split(',')
  : undefined
const OPERATIONS = quick ? { rounds: 3, count: 3000 } : { rounds: 9, count: 10_000 }
const SESSIONS = quick ? 20_000 : 100_000
const HTTP = quick
  ? { rounds: 1, seconds: 0.5, warmUp: 0.5, sessions: 2000 }
  : { rounds: 7, seconds: 1, warmUp: 1, sessions: 50_000 }
const MASTERS = quick ? { rounds: 2, sessions: 1500 } : { rounds: 9, sessions: 18_000 }

/** A Redis, a client of it, and what looks into it from beside. */
interface Place {
  readonly url: string
  readonly client: RedisClient
  readonly watch: RedisWatch
}

const PARTS: Record<string, (place: Place) => Promise<Partial<RedisResult>>> = {
  operations: async ({ client, watch }) => ({
    operations: await measureOperations(client, watch, OPERATIONS)
  }),
  sessions: async ({ client, watch }) => ({
    sessions: SESSIONS,
    ...(await measureSessions(client, watch, SESSIONS))
  }),
  http: async ({ url, watch }) => ({
    http: await measureHttp(BESIDE, Object.keys(WORKLOADS), { REDIS_URL: url }, watch, HTTP)
  }),
  stores: async ({ url, watch }) => {
    const folder = await mkdtemp(join(tmpdir(), 'sled-bench-'))
    const env = { REDIS_URL: url, LMDB_FOLDER: folder }
    const { mix = {} } = await measureHttp(STORES, ['mix'], env, watch, HTTP)
    await rm(folder, { recursive: true })
    return { stores: mix }
  },
  masters: async () => ({ masters: await measureMasters(MASTERS.rounds, MASTERS.sessions) })
}

async function measure(): Promise<RedisResult> {
  const server = await startRedis()
  const watch = await RedisWatch.on([server.url])
  const client = createClient({ url: server.url })
  await client.connect()
  try {
    let result = (only === undefined ? {} : JSON.parse(await readFile(FILE, 'utf8'))) as RedisResult
    for (const name of only ?? Object.keys(PARTS)) {
      const part = PARTS[name]
      if (part === undefined) throw new Error(`no part "${name}"`)
      result = { ...result, ...(await part({ url: server.url, client, watch })) }
    }
    const [, redis = ''] = /redis_version:(\S+)/.exec(await client.info('server')) ?? []
    const date = new Date().toISOString().slice(0, 10)
    const about = { date, machine: machine(), versions: { Redis: redis, ...(await versions()) } }
    return { ...result, ...about }
  } finally {
    watch.close()
    client.destroy()
    await server.stop()
  }
}

async function versions(): Promise<Record<string, string>> {
  const names = ['redis', 'connect-redis', '@fastify/session', 'fastify']
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await versionOf(name)]))
  )
}

async function versionOf(name: string): Promise<string> {
  // Not by require: some of them export no package.json.
  for (const folder of createRequire(import.meta.url).resolve.paths(name) ?? []) {
    const text = await readFile(`${folder}/${name}/package.json`, 'utf8').catch(() => null)
    if (text !== null) return (JSON.parse(text) as { version: string }).version
  }
  throw new Error(`${name} is not installed`)
}

const result = await measure()
for (const [name, render] of Object.entries({ ...REDIS_TABLES, ...SCALE_TABLES })) {
  console.log(`\n### ${name}\n\n${render(result)}`)
}
if (!quick) {
  await writeFile(FILE, `${JSON.stringify(result, null, 2)}\n`)
}
