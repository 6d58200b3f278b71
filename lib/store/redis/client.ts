import { InvalidOptionError } from '../../errors.js'
import { clearTimeout, setImmediate, setTimeout } from '../../timers.js'

/** A client of `redis` (node-redis) 5 or later: `createClient` or `createClientPool`. */
export interface NodeRedisClient {
  readonly isReady?: boolean
  sendCommand(args: string[]): Promise<unknown>
}

/** A client of `redis` (node-redis) 5 or later: `createCluster`. */
export interface NodeRedisCluster {
  readonly masters: readonly unknown[]
  sendCommand(firstKey: string, isReadonly: boolean, args: string[]): Promise<unknown>
}

/** A client of `ioredis` 5 or later: `new Redis` or `new Redis.Cluster`. */
export interface IORedisClient {
  readonly status: string
  call(command: string, ...args: string[]): Promise<unknown>
}

/** The application's client, connected; the store neither opens nor closes it. */
export type RedisClient = NodeRedisClient | NodeRedisCluster | IORedisClient

/** Sends one command and resolves to its reply. `key` is one of its keys, for clusters. */
export type SendCommand = (key: string, args: string[]) => Promise<unknown>

/**
 * How to send a command through a client. While the client is not connected it fails at once, as
 * clients by themselves would queue commands until the server is back; and what takes longer
 * than `timeout`, in ms, fails too. Requests then get a 503 instead of hanging.
 *
 * @throws {InvalidOptionError} for what is no known client
 */
export function commandSender(client: RedisClient, timeout: () => number): SendCommand {
  const send = adapt(client)
  return (key, args) => {
    if (!isConnected(client)) return Promise.reject(new Error('the client is not connected'))
    return within(timeout(), send(key, args))
  }
}

/** As `commandSender`, for the first command: a client that is about to connect may queue it. */
export function firstCommand(
  client: RedisClient,
  timeout: number,
  key: string,
  args: string[]
): Promise<unknown> {
  return within(timeout, adapt(client)(key, args))
}

function adapt(client: RedisClient): SendCommand {
  if ('call' in client) return (_key, [name = '', ...args]) => client.call(name, ...args)
  if ('masters' in client) return (key, args) => client.sendCommand(key, false, args)
  if (typeof client.sendCommand === 'function') return (_key, args) => client.sendCommand(args)
  throw new InvalidOptionError('client', 'must be a client of "redis" or "ioredis"')
}

function isConnected(client: RedisClient): boolean {
  if ('status' in client) return client.status === 'ready'
  return !('isReady' in client) || client.isReady !== false
}

/** A reply that comes later is dropped. */
function within(timeout: number, reply: Promise<unknown>): Promise<unknown> {
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
