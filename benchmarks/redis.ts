import { readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { createClient } from 'redis'
import { startRedis } from '../test/support/redis.js'
import { measureHttp } from './redis-http.js'
import { measureMasters } from './redis-masters.js'
import { measureMemory, measureOperations } from './redis-operations.js'
import { REDIS_TABLES, type RedisResult } from './redis-tables.js'
import { RedisWatch } from './redis-usage.js'
import { machine } from './report.js'

/**
 * Our store on Redis beside connect-redis: the same server, the same client, in one run. First the
 * stores alone, then a server of each, then ours on a cluster of one and of three masters.
 *
 *     npm run bench:redis                some two minutes
 *     npm run bench:redis -- --quick     some rounds of fewer, half a minute; writes nothing
 */
const quick = process.argv.includes('--quick')
const OPERATIONS = quick ? { rounds: 3, count: 3000 } : { rounds: 9, count: 10_000 }
const SESSIONS = quick ? 20_000 : 100_000
const HTTP = quick
  ? { rounds: 1, seconds: 0.5, warmUp: 0.5, sessions: 2000 }
  : { rounds: 9, seconds: 1, warmUp: 2, sessions: 50_000 }
const MASTERS = quick ? { rounds: 2, sessions: 3000 } : { rounds: 5, sessions: 10_000 }

async function measure(): Promise<RedisResult> {
  const server = await startRedis()
  const watch = await RedisWatch.on([server.url])
  const client = createClient({ url: server.url })
  await client.connect()
  try {
    const operations = await measureOperations(client, watch, OPERATIONS)
    const bytes = await measureMemory(client, watch, SESSIONS)
    const http = await measureHttp(server.url, watch, HTTP)
    const [, redis = ''] = /redis_version:(\S+)/.exec(await client.info('server')) ?? []
    const masters = await measureMasters(MASTERS.rounds, MASTERS.sessions)
    return {
      date: new Date().toISOString().slice(0, 10),
      machine: machine(),
      versions: { Redis: redis, ...(await versions()) },
      operations,
      sessions: SESSIONS,
      bytes,
      http,
      masters
    }
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
for (const [name, render] of Object.entries(REDIS_TABLES)) {
  console.log(`\n### ${name}\n\n${render(result)}`)
}
if (!quick) {
  const file = fileURLToPath(new URL('results/redis.json', import.meta.url))
  await writeFile(file, `${JSON.stringify(result, null, 2)}\n`)
}
