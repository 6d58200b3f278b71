import { InvalidOptionError } from '../../errors.js'
import { clearTimeout, setImmediate, setTimeout } from '../../timers.js'
import {
  type GlideClient,
  type GlideClusterClient,
  throughGlide,
  throughGlideCluster,
  unsafeSettingOf
} from './glide.js'

export type { GlideClient, GlideClusterClient }

/** A client of `redis` (node-redis) 5 or later: `createClient` or `createClientPool`. */
export interface NodeRedisClient {
  readonly isReady?: boolean
  sendCommand(args: string[]): Promise<unknown>
  /** Only a pool has it. */
  execute?(task: never): Promise<unknown>
}

/** A client of `redis` (node-redis) 5 or later: `createSentinel`. */
export interface NodeRedisSentinel {
  readonly isReady?: boolean
  getMasterNode(): unknown
  sendCommand(isReadonly: boolean, args: string[]): Promise<unknown>
}

/** A client of `redis` (node-redis) 5 or later: `createCluster`. */
export interface NodeRedisCluster {
  readonly masters: readonly unknown[]
  nodeClient(node: never): unknown
  /** Since version 6. */
  getNodeClientForKey?(key: string): unknown
  sendCommand(firstKey: string, isReadonly: boolean, args: string[]): Promise<unknown>
}

/** A client of `ioredis` 5 or later, or of `iovalkey`: `new Redis`. */
export interface IORedisClient {
  readonly status: string
  readonly options?: { readonly keyPrefix?: string | undefined; readonly scaleReads?: unknown }
  call(command: string, ...args: string[]): Promise<unknown>
}

/** A client of `ioredis` 5 or later, or of `iovalkey`: `new Cluster`. */
export interface IORedisCluster extends IORedisClient {
  nodes(role: 'master'): IORedisClient[]
  pipeline(commands: string[][]): {
    exec(): Promise<[error: Error | null, reply: unknown][] | null>
  }
}

/** The application's client, connected; the store neither opens nor closes it. */
export type RedisClient =
  | NodeRedisClient
  | NodeRedisSentinel
  | NodeRedisCluster
  | IORedisClient
  | IORedisCluster
  | GlideClient
  | GlideClusterClient

export const KNOWN_CLIENTS = 'a client of "redis", "ioredis", "iovalkey" or "@valkey/valkey-glide"'

/** Sends one command and resolves to its reply. `key` is its key, for clusters. */
export type SendCommand = (key: string, args: string[]) => Promise<unknown>

/**
 * Sends a read of a key, and right behind it, on the same connection, another command; resolves to
 * both replies. It rejects if the key is not, or not any more, on the server that is asked.
 */
export type SendBehindRead = (
  key: string,
  read: string[],
  args: string[]
) => Promise<readonly [found: unknown, reply: unknown]>

/** Sends one command to one server. */
export type SendToNode = (args: string[]) => Promise<unknown>

/** What the store needs of a client. */
export interface Connection {
  readonly isCluster: boolean
  readonly send: SendCommand
  /** Missing where a client cannot be told to keep two commands together. */
  readonly sendBehindRead?: SendBehindRead
  /** The servers that have the keys, each once. */
  masters(): Promise<SendToNode[]>
}

/**
 * How to send commands through a client. While the client is not connected they fail at once, as
 * clients by themselves would queue commands until the server is back; and what takes longer
 * than `timeout`, in ms, fails too. Requests then get a 503 instead of hanging.
 *
 * @throws {InvalidOptionError} for what is no known client
 */
export function connectionOf(client: RedisClient, timeout: () => number): Connection {
  const { isCluster, send, sendBehindRead, masters } = adapt(client)
  const guard = <Args extends unknown[], T>(ask: (...args: Args) => Promise<T>) => {
    return (...args: Args): Promise<T> => {
      if (!isConnected(client)) return Promise.reject(new Error('the client is not connected'))
      return within(timeout(), ask(...args))
    }
  }
  return {
    isCluster,
    send: guard(send),
    ...(sendBehindRead && { sendBehindRead: guard(sendBehindRead) }),
    masters: async () => (await masters()).map(guard)
  }
}

/** As a connection's `send`, for the first command: a client that is about to connect may queue it. */
export function firstCommand(
  client: RedisClient,
  timeout: number,
  key: string,
  args: string[]
): Promise<unknown> {
  return within(timeout, adapt(client).send(key, args))
}

/** Whether the server has answered, and so has done nothing. Its errors begin with a code. */
export function isRefusal(error: unknown): boolean {
  return error instanceof Error && /^[A-Z]{2,} /.test(error.message)
}

/** Whether the server has refused a command for this reason. */
export function isRefusedBy(error: unknown, code: 'NOSCRIPT' | 'WRONGTYPE'): boolean {
  return error instanceof Error && error.message.startsWith(code)
}

function adapt(client: RedisClient): Connection {
  if ('customCommand' in client) return adaptGlide(client)
  if ('call' in client) return adaptIORedis(client)
  if ('masters' in client) return adaptNodeRedisCluster(client)
  if ('getMasterNode' in client) return single((args) => client.sendCommand(false, args))
  if (typeof client.sendCommand !== 'function') {
    throw new InvalidOptionError('client', `must be ${KNOWN_CLIENTS}`)
  }
  const { sendBehindRead, ...rest } = single((args) => client.sendCommand(args))
  return client.execute === undefined ? { ...rest, sendBehindRead } : rest
}

function single(send: SendToNode): Required<Connection> {
  return {
    isCluster: false,
    send: (_key, args) => send(args),
    sendBehindRead: (_key, read, args) => behindRead(send, read, args),
    masters: () => Promise.resolve([send])
  }
}

/** Both in one turn of the event loop, so that nothing comes in between. */
function behindRead(send: SendToNode, read: string[], args: string[]) {
  return Promise.all([send(read), send(args)])
}

/** What it sends on which connection, and in which order, is its own affair. */
function adaptGlide(client: GlideClient | GlideClusterClient): Connection {
  const problem = unsafeSettingOf(client)
  if (problem !== null) throw new InvalidOptionError('client', problem)
  if ('invokeScriptWithRoute' in client) {
    return { isCluster: true, ...throughGlideCluster(client) }
  }
  const send = throughGlide(client)
  return {
    isCluster: false,
    send: (_key, args) => send(args),
    masters: () => Promise.resolve([send])
  }
}

function adaptIORedis(client: IORedisClient | IORedisCluster): Connection {
  // It would be put before the keys of all commands but those that walk over them.
  if (client.options?.keyPrefix) {
    throw new InvalidOptionError('client', 'has a keyPrefix: use the "prefix" of the store instead')
  }
  const reads = client.options?.scaleReads ?? 'master'
  if (reads !== 'master') {
    throw new InvalidOptionError('client', 'has scaleReads: replicas are behind')
  }
  const toNode = (node: IORedisClient): SendToNode => {
    return ([name = '', ...args]) => node.call(name, ...args)
  }
  const all = single(toNode(client))
  if (!('nodes' in client)) return all
  return {
    ...all,
    isCluster: true,
    sendBehindRead: async (_key, ...both) => {
      // Here, commands are the names of methods.
      const commands = both.map(([name = '', ...args]) => [name.toLowerCase(), ...args])
      const replies = (await client.pipeline(commands).exec()) ?? []
      for (const [error] of replies) if (error !== null) throw error
      return [replies[0]?.[1], replies[1]?.[1]]
    },
    masters: async () => client.nodes('master').map(toNode)
  }
}

function adaptNodeRedisCluster(client: NodeRedisCluster): Connection {
  if (typeof client.nodeClient !== 'function') {
    const problem = 'is a cluster without nodeClient(): use "redis" 5 or later'
    throw new InvalidOptionError('client', problem)
  }
  const toNode = async (finding: unknown): Promise<SendToNode> => {
    const one = (await finding) as NodeRedisClient
    return (args) => one.sendCommand(args)
  }
  return {
    isCluster: true,
    send: (key, args) => client.sendCommand(key, false, args),
    sendBehindRead: async (key, read, args) => {
      return behindRead(await toNode(client.getNodeClientForKey?.(key)), read, args)
    },
    masters: () =>
      Promise.all(client.masters.map((node) => toNode(client.nodeClient(node as never))))
  }
}

function isConnected(client: RedisClient): boolean {
  if ('status' in client) return client.status === 'ready'
  return !('isReady' in client) || client.isReady !== false
}

/** A reply that comes later is dropped. */
function within<T>(timeout: number, reply: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => reject(new Error(`Redis has not answered for ${timeout} ms`))
    // Rejects a turn later: where this process was held up, the reply is there and not read yet.
    const timer = setTimeout(() => setImmediate(giveUp), timeout)
    reply
      .then(resolve, (error) => reject(withoutArguments(error)))
      .finally(() => clearTimeout(timer))
  })
}

/**
 * A client's error as it may be logged: clients attach the command with its arguments, which are
 * handles and the data of sessions, and servers quote some of them for a command they do not know.
 */
function withoutArguments(error: unknown): Error {
  if (!(error instanceof Error)) return new Error('the client failed')
  const clean = new Error(error.message.replace(/,? with args beginning with.*$/s, ''))
  return 'code' in error ? Object.assign(clean, { code: error.code }) : clean
}
