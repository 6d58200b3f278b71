import { STORE_TIMEOUT } from '../store-options.js'
import { commandSender, firstCommand, type RedisClient, type SendCommand } from './client.js'
import { fieldsOf } from './codec.js'
import type { Script } from './scripts.js'

/** What the store asks of Redis. Every method rejects with the client's error, cleared of arguments. */
export class RedisServer {
  readonly #client: RedisClient
  readonly #send: SendCommand
  /** How long it may take to answer one command, in ms. */
  timeout = STORE_TIMEOUT

  constructor(client: RedisClient) {
    this.#client = client
    this.#send = commandSender(client, () => this.timeout)
  }

  /** Asks for anything at all, so that a wrong address fails the start and not the first visitor. */
  async greet(key: string): Promise<void> {
    await firstCommand(this.#client, this.timeout, key, ['ZCARD', key])
  }

  /** Leaves a key that goes by itself after a minute. */
  async leaveMark(key: string): Promise<void> {
    await this.#send(key, ['SET', key, '1', 'PX', '60000'])
  }

  /** Whether there was such a key. It deletes it: a write asks the primary and no replica. */
  async takeMark(key: string): Promise<boolean> {
    return Number(await this.#send(key, ['DEL', key])) === 1
  }

  async hash(key: string): Promise<Map<string, string>> {
    return fieldsOf(await this.#send(key, ['HGETALL', key]))
  }

  async text(key: string): Promise<string | null> {
    return (await this.#send(key, ['GET', key])) as string | null
  }

  async setText(key: string, text: string): Promise<void> {
    await this.#send(key, ['SET', key, text])
  }

  /** Some members of a sorted set, and where the next ones are; the cursor `0` begins and ends. */
  async membersFrom(key: string, cursor: string): Promise<{ cursor: string; members: string[] }> {
    const reply = await this.#send(key, ['ZSCAN', key, cursor, 'COUNT', '128'])
    const [next, pairs] = reply as [cursor: string | number, pairs: string[]]
    // Each is followed by its score.
    return { cursor: String(next), members: pairs.filter((_, at) => at % 2 === 0) }
  }

  /** Up to `limit` members whose score is `most` or less. */
  async due(key: string, most: number, limit: number): Promise<string[]> {
    const range = ['ZRANGEBYSCORE', key, '-inf', String(most), 'LIMIT', '0', String(limit)]
    return (await this.#send(key, range)) as string[]
  }

  /** Up to `limit` members behind one, in their own order. */
  async behind(key: string, member: string | null, limit: number): Promise<string[]> {
    const from = member === null ? '-' : `(${member}`
    return (await this.#send(key, [
      'ZRANGEBYLEX',
      key,
      from,
      '+',
      'LIMIT',
      '0',
      String(limit)
    ])) as string[]
  }

  async countOver(key: string, least: number): Promise<number> {
    return Number(await this.#send(key, ['ZCOUNT', key, `(${least}`, '+inf']))
  }

  /** Runs a script by its hash; a server that does not know it, as after a restart, gets its text. */
  async run(script: Script, keys: string[], message: object): Promise<unknown> {
    const rest = [String(keys.length), ...keys, JSON.stringify(message)]
    const key = keys[0] as string
    try {
      return await this.#send(key, ['EVALSHA', script.sha, ...rest])
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return this.#send(key, ['EVAL', script.text, ...rest])
    }
  }
}
