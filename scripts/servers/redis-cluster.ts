import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from 'redis'
import { freeClusterPort } from './ports.js'
import { type RedisProcess, startRedis } from './redis.js'
import { settles } from './until.js'

export const SLOTS = 16_384

/** One server of a cluster. */
export interface ClusterNode extends RedisProcess {
  /** By which the others know it. */
  readonly id: string
  /** Asks this server, whoever has the key. */
  ask(...args: string[]): Promise<unknown>
}

/** Servers on this machine that share the slots evenly. */
export interface RedisCluster {
  readonly masters: readonly ClusterNode[]
  /** The first one follows the first master, and so on; none if it was started without. */
  readonly replicas: readonly ClusterNode[]
  /** Where clients begin: the masters. */
  readonly urls: string[]
  /** Which of the servers has a slot now, by the word of a server that is alive. */
  ownerOf(slot: number): Promise<ClusterNode | undefined>
  /** Gives a slot with all its keys to another master, as `redis-cli --cluster reshard` does. */
  moveSlot(slot: number, to: ClusterNode): Promise<void>
  /** Ends all of them and removes their files. */
  stop(): Promise<void>
}

export interface ClusterOptions {
  masters?: number
  /** Whether each master has one. */
  replicas?: boolean
  /** Arguments of each redis-server. */
  options?: string[]
}

/** After so many ms of silence the others agree that a node is gone. */
const NODE_TIMEOUT = 1000

/** Starts one; resolves when all of its servers agree. */
export async function startCluster({
  masters: count = 3,
  replicas: withReplicas = false,
  options = []
}: ClusterOptions = {}): Promise<RedisCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'sled-cluster-'))
  const nodes: ClusterNode[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()))
    await rm(folder, { recursive: true, force: true })
  }
  try {
    for (let at = 0; at < (withReplicas ? 2 * count : count); at++) {
      nodes.push(await startNode(folder, options))
    }
    const masters = nodes.slice(0, count)
    await connectNodes(masters, nodes.slice(count))
    return {
      masters,
      replicas: nodes.slice(count),
      urls: masters.map(({ url }) => url),
      ownerOf: (slot) => ownerOf(nodes, slot),
      moveSlot: (slot, to) => moveSlot(nodes, slot, to),
      stop
    }
  } catch (error) {
    await stop()
    throw error
  }
}

async function startNode(folder: string, options: string[]): Promise<ClusterNode> {
  const port = await freeClusterPort()
  const server = await startRedis(
    [
      ...['--cluster-enabled', 'yes', '--cluster-config-file', join(folder, `${port}.conf`)],
      ...['--cluster-node-timeout', String(NODE_TIMEOUT), '--cluster-announce-ip', '127.0.0.1'],
      // A replica takes over however long it has not heard of its master.
      ...['--cluster-replica-validity-factor', '0', '--repl-diskless-sync-delay', '0'],
      ...['--dir', folder, '--dbfilename', `${port}.rdb`],
      ...options
    ],
    port
  )
  const client = createClient({ url: server.url, disableOfflineQueue: true })
  client.on('error', () => {})
  await client.connect()
  const ask = (...args: string[]): Promise<unknown> => client.sendCommand(args)
  const id = String(await ask('CLUSTER', 'MYID'))
  const stop = async (): Promise<void> => {
    client.destroy()
    await server.stop()
  }
  return { ...server, id, ask, stop }
}

async function connectNodes(masters: ClusterNode[], replicas: ClusterNode[]): Promise<void> {
  const nodes = [...masters, ...replicas]
  const share = SLOTS / masters.length
  for (const [at, node] of masters.entries()) {
    const [first, last] = [Math.round(at * share), Math.round((at + 1) * share) - 1]
    await node.ask('CLUSTER', 'ADDSLOTSRANGE', String(first), String(last))
  }
  for (const [at, node] of nodes.entries()) {
    await node.ask('CLUSTER', 'SET-CONFIG-EPOCH', String(at + 1))
    if (at > 0) await node.ask('CLUSTER', 'MEET', '127.0.0.1', String(nodes[0]?.port))
  }
  await allSay(nodes, (info) => info.includes(`cluster_known_nodes:${nodes.length}`))
  for (const [at, replica] of replicas.entries()) {
    await replica.ask('CLUSTER', 'REPLICATE', masters[at]?.id ?? '')
  }
  await allSay(nodes, (info) => info.includes('cluster_state:ok'))
  for (const replica of replicas) await settles(() => isInSync(replica))
  // Before they all know it, a client that asks one of them sees no replicas.
  for (const node of nodes) {
    await settles(async () => count(await tableOf(node), /slave/g) === replicas.length)
  }
}

async function allSay(nodes: ClusterNode[], agree: (info: string) => boolean): Promise<void> {
  for (const node of nodes) {
    await settles(async () => agree(String(await node.ask('CLUSTER', 'INFO'))))
  }
}

async function isInSync(replica: ClusterNode): Promise<boolean> {
  const info = String(await replica.ask('INFO', 'replication'))
  return info.includes('master_link_status:up') && info.includes('master_sync_in_progress:0')
}

async function tableOf(node: ClusterNode): Promise<string> {
  return String(await node.ask('CLUSTER', 'NODES'))
}

function count(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0
}

async function ownerOf(nodes: ClusterNode[], slot: number): Promise<ClusterNode | undefined> {
  for (const node of nodes) {
    const shards = await node.ask('CLUSTER', 'SLOTS').catch(() => null)
    if (shards === null) continue
    const range = (shards as [number, number, [string, number]][]).find(
      ([first, last]) => first <= slot && slot <= last
    )
    return nodes.find(({ port }) => port === range?.[2][1])
  }
  return undefined
}

async function moveSlot(nodes: ClusterNode[], slot: number, to: ClusterNode): Promise<void> {
  const from = await ownerOf(nodes, slot)
  if (from === undefined || from === to) return
  const number = String(slot)
  await to.ask('CLUSTER', 'SETSLOT', number, 'IMPORTING', from.id)
  await from.ask('CLUSTER', 'SETSLOT', number, 'MIGRATING', to.id)
  for (;;) {
    const keys = (await from.ask('CLUSTER', 'GETKEYSINSLOT', number, '100')) as string[]
    if (keys.length === 0) break
    const target = ['127.0.0.1', String(to.port), '', '0', '5000']
    await from.ask('MIGRATE', ...target, 'REPLACE', 'KEYS', ...keys)
  }
  for (const node of [to, from]) await node.ask('CLUSTER', 'SETSLOT', number, 'NODE', to.id)
}
