import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from 'redis'
import { freePort } from './ports.js'
import { type RedisProcess, startRedis, startServer } from './redis.js'
import { settles } from './until.js'

/** A master with two replicas, and three sentinels that make one of those the master when it is gone. */
export interface SentinelSetUp {
  /** What the sentinels call the master. */
  readonly name: string
  readonly master: RedisProcess
  readonly replicas: readonly RedisProcess[]
  readonly sentinels: readonly { host: string; port: number }[]
  /** The port of whoever is the master by the word of the first sentinel. */
  masterPort(): Promise<number>
  /** Ends all of them and removes their files. */
  stop(): Promise<void>
}

const NAME = 'main'
/** After so many ms of silence a sentinel takes a server for gone. */
const DOWN_AFTER = 500

/** Starts one; resolves when the sentinels know the replicas and each other. */
export async function startSentinels(): Promise<SentinelSetUp> {
  const folder = await mkdtemp(join(tmpdir(), 'sled-sentinel-'))
  const ends: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })]
  const stop = async (): Promise<void> => {
    while (ends.length > 0) await ends.pop()?.()
  }
  try {
    const [master, ...replicas] = await startServers(folder, ends)
    if (master === undefined) throw new Error('there is no master')
    const ports: number[] = []
    for (let at = 0; at < 3; at++) ports.push(await startSentinel(folder, master.port, ends))
    for (const port of ports) await knowsAll(port, ports.length - 1, replicas.length)
    const asked = await connect(ports[0] ?? 0)
    ends.push(async () => asked.destroy())
    return {
      name: NAME,
      master,
      replicas,
      sentinels: ports.map((port) => ({ host: '127.0.0.1', port })),
      async masterPort() {
        const address = await asked.sendCommand(['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME])
        return Number((address as unknown as string[])[1])
      },
      stop
    }
  } catch (error) {
    await stop()
    throw error
  }
}

async function startServers(folder: string, ends: (() => Promise<unknown>)[]) {
  const servers: RedisProcess[] = []
  for (const name of ['a', 'b', 'c']) {
    const [first] = servers
    const follow = first === undefined ? [] : ['--replicaof', `127.0.0.1 ${first.port}`]
    const files = ['--dir', folder, '--dbfilename', `${name}.rdb`]
    const server = await startRedis([...files, ...follow, '--repl-diskless-sync-delay', '0'])
    ends.push(() => server.stop())
    servers.push(server)
  }
  return servers
}

async function startSentinel(
  folder: string,
  master: number,
  ends: (() => Promise<unknown>)[]
): Promise<number> {
  const port = await freePort()
  const file = join(folder, `sentinel-${port}.conf`)
  const settings = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir "${folder}"`,
    `sentinel monitor ${NAME} 127.0.0.1 ${master} 2`,
    `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER}`,
    `sentinel failover-timeout ${NAME} 1500`
  ]
  await writeFile(file, `${settings.join('\n')}\n`)
  const { kill } = await startServer(port, [file, '--sentinel'])
  ends.push(kill)
  return port
}

async function connect(port: number) {
  const client = createClient({ url: `redis://127.0.0.1:${port}` })
  client.on('error', () => {})
  await client.connect()
  return client
}

async function knowsAll(port: number, sentinels: number, replicas: number): Promise<void> {
  const client = await connect(port)
  await settles(async () => {
    const reply = await client.sendCommand(['SENTINEL', 'MASTERS'])
    const text = JSON.stringify(reply)
    return (
      text.includes(`"num-slaves":"${replicas}"`) &&
      text.includes(`"num-other-sentinels":"${sentinels}"`)
    )
  })
  client.destroy()
}
