import { InvalidOptionError } from '../../errors.js'
import { STORE_TIMEOUT } from '../store-options.js'
import {
  type Connection,
  connectionOf,
  firstCommand,
  isRefusedBy,
  type RedisClient
} from './client.js'
import {
  DESTROY,
  FILE,
  OVERWRITE,
  PUT,
  RELEASE_LEASE,
  REMOVE,
  type Script,
  SWAP,
  TAKE_LEASE
} from './scripts.js'
import { MARK_LENGTH, MOST_WRITERS } from './write-marks.js'

/** How many keys a step of a walk looks at. */
const SCANNED = '512'
/** As much of a session as has its deadline, in bytes. */
const START_OF_SESSION = '400'
/** As much of a session as has its marks, in bytes. */
const END_OF_MARKS = String(MOST_WRITERS * MARK_LENGTH)
/** The part of its time that a server may wait for replicas. */
const PATIENCE = 0.8
/** What no value begins with. */
const NO_TEXT = '\0'
/** A walk begins with this cursor and has ended when it comes back. */
const FIRST_CURSOR = '0'

/** Whether a text is in its place now, or what is there instead. */
export interface Swapped {
  readonly swapped: boolean
  readonly found: string | null
}

/** What the store asks of Redis. Every method rejects with the client's error, cleared of arguments. */
export class RedisServer {
  readonly #client: RedisClient
  readonly #connection: Connection
  readonly #replicas: number
  /** How long it may take to answer one command, in ms. */
  timeout = STORE_TIMEOUT

  /** @param replicas how many must have a change of a session before it is acknowledged */
  constructor(client: RedisClient, replicas = 0) {
    this.#client = client
    this.#replicas = replicas
    this.#connection = connectionOf(client, () => this.timeout)
  }

  /**
   * Asks for anything at all, so that a wrong address, or a server that runs no scripts, fails the
   * start and not the first visitor.
   *
   * @throws {InvalidOptionError} if the client knows one node of a cluster and not the others
   */
  async greet(key: string): Promise<void> {
    const reply = firstCommand(this.#client, this.timeout, key, ['EXISTS', key])
    if (this.#connection.isCluster) await reply
    else if (await isNodeOfCluster(reply, () => this.#send(key, ['INFO', 'cluster']))) {
      throw new InvalidOptionError(
        'client',
        'is for a single server, and this one belongs to a cluster: use createCluster() of "redis", Cluster of "ioredis" or GlideClusterClient'
      )
    }
    await this.#run(REMOVE, key, NO_TEXT)
  }

  async has(key: string): Promise<boolean> {
    return Number(await this.#send(key, ['EXISTS', key])) === 1
  }

  /** Leaves a key that goes by itself after a minute. */
  async leaveMark(key: string): Promise<void> {
    await this.#send(key, ['SET', key, '1', 'PX', '60000'])
  }

  /** Resolves to whether there was such a key. As a write, it asks the primary and no replica. */
  async delete(key: string): Promise<boolean> {
    return Number(await this.#send(key, ['DEL', key])) === 1
  }

  async text(key: string): Promise<string | null> {
    return (await this.#send(key, ['GET', key])) as string | null
  }

  /** @param milliseconds after which it goes; by itself never if left out */
  async setText(key: string, text: string, milliseconds?: number): Promise<void> {
    const expiry = milliseconds === undefined ? [] : ['PX', timeLeft(milliseconds)]
    await this.#send(key, ['SET', key, text, ...expiry])
    await this.#replicated(key, text)
  }

  /** The first 400 bytes. */
  async start(key: string): Promise<string> {
    return (await this.#send(key, ['GETRANGE', key, '0', START_OF_SESSION])) as string
  }

  /** In bytes; 0 if there is none. */
  async length(key: string): Promise<number> {
    return Number(await this.#send(key, ['STRLEN', key]))
  }

  /** Puts a text in the place of one that begins as expected, or gives what is there instead. */
  async swap(key: string, expected: string, text: string, milliseconds: number): Promise<Swapped> {
    const reply = await this.#run(SWAP, key, expected, text, timeLeft(milliseconds))
    return this.#swapped(key, reply, text)
  }

  /**
   * As `swap`, where only the beginning changes.
   *
   * @param milliseconds how long it lives from now; `null` for as long as before
   */
  async overwrite(
    key: string,
    mark: string,
    beginning: string,
    milliseconds: number | null
  ): Promise<Swapped> {
    const expiry = milliseconds === null ? [] : [timeLeft(milliseconds)]
    const reply = await this.#run(OVERWRITE, key, mark, beginning, ...expiry)
    return this.#swapped(key, reply, beginning)
  }

  async put(key: string, mark: string, text: string, milliseconds: number): Promise<void> {
    await this.#run(PUT, key, mark, text, timeLeft(milliseconds))
    await this.#replicated(key, text)
  }

  /** Resolves to whether there was one that began as expected. */
  async remove(key: string, expected: string): Promise<boolean> {
    const removed = Number(await this.#run(REMOVE, key, expected)) === 1
    if (removed) await this.#replicated(key, null)
    return removed
  }

  /** Resolves to whether there was a session. */
  async destroy(key: string): Promise<boolean> {
    const destroyed = Number(await this.#run(DESTROY, key)) === 1
    await this.#replicated(key, null)
    return destroyed
  }

  /** Both in the same slot. */
  async rename(key: string, to: string, milliseconds: number): Promise<void> {
    await this.#send(key, ['RENAME', key, to])
    await this.#send(to, ['PEXPIRE', to, timeLeft(milliseconds)])
  }

  /** Lists a member until a time; `now` decides what is past its own. */
  async file(key: string, member: string, until: number, now: number): Promise<void> {
    await this.#run(FILE, key, member, String(until), String(now), timeLeft(until - now))
    const read = ['ZSCORE', key, member]
    await this.#reached(key, read, (score) => Number(score) >= until)
  }

  async unfile(key: string, member: string): Promise<void> {
    await this.#send(key, ['ZREM', key, member])
  }

  /** The members of a sorted set, in batches; each may come more than once. */
  async *members(key: string): AsyncGenerator<string[]> {
    let cursor: string | null = null
    while (cursor !== FIRST_CURSOR) {
      const reply = await this.#send(key, ['ZSCAN', key, cursor ?? FIRST_CURSOR, 'COUNT', '128'])
      const [next, pairs] = reply as [cursor: string | number, pairs: string[]]
      cursor = String(next)
      // Each is followed by its score.
      yield pairs.filter((_, at) => at % 2 === 0)
    }
  }

  /** The keys of all servers that match, in batches; each may come more than once. */
  async *keys(pattern: string): AsyncGenerator<string[]> {
    for (const send of await this.#connection.masters()) {
      let cursor: string | null = null
      while (cursor !== FIRST_CURSOR) {
        const from: string = cursor ?? FIRST_CURSOR
        const reply = await send(['SCAN', from, 'MATCH', pattern, 'COUNT', SCANNED])
        const [next, keys] = reply as [cursor: string | number, keys: string[]]
        cursor = String(next)
        yield keys
      }
    }
  }

  async takeLease(key: string, owner: string, milliseconds: number): Promise<boolean> {
    return Number(await this.#run(TAKE_LEASE, key, owner, String(milliseconds))) === 1
  }

  async releaseLease(key: string, owner: string): Promise<void> {
    await this.#run(RELEASE_LEASE, key, owner)
  }

  /**
   * To be asked where the client has sent a write twice, and the server had done it: nobody knows
   * how many replicas have it.
   */
  requireNoReplicas(): void {
    if (this.#replicas > 0) throw new Error('it is not known whether replicas have it')
  }

  async #swapped(key: string, reply: unknown, text: string): Promise<Swapped> {
    // A client may give numbers as texts; a session is never as short.
    const swapped = String(reply) === '1'
    if (swapped) await this.#replicated(key, text)
    return { swapped, found: swapped ? null : (reply as string | null) }
  }

  /** @param text what a key has now, or a later write of it names; `null` for no session */
  #replicated(key: string, text: string | null): Promise<void> {
    return this.#reached(key, ['GETRANGE', key, '0', END_OF_MARKS], (found) => {
      const start = String(found ?? '')
      return text === null ? /^>|^$/.test(start) : start.includes(text.slice(0, MARK_LENGTH))
    })
  }

  /**
   * Waits until replicas have what the server of a key has done so far, if that is asked for.
   *
   * @param isDone whether the server itself has it, by what it has read: a replica that has become
   *   the primary may never have heard of it
   */
  async #reached(key: string, read: string[], isDone: (found: unknown) => boolean): Promise<void> {
    if (this.#replicas === 0) return
    // It answers how many they are before the client has waited for too long.
    const patience = Math.ceil(this.timeout * PATIENCE)
    const wait = ['WAIT', String(this.#replicas), String(patience)]
    const [found, reached] = (await this.#connection.sendBehindRead?.(key, read, wait)) ?? []
    if (!isDone(found)) throw new Error('another server has taken over, and does not have it')
    if (Number(reached) >= this.#replicas) return
    throw new Error(`${Number(reached)} of ${this.#replicas} replicas have it`)
  }

  #send(key: string, args: string[]): Promise<unknown> {
    return this.#connection.send(key, args)
  }

  /** Runs a script by its hash; a server that does not know it, as after a restart, gets its text. */
  async #run(script: Script, key: string, ...args: string[]): Promise<unknown> {
    try {
      return await this.#send(key, ['EVALSHA', script.sha, '1', key, ...args])
    } catch (error) {
      if (!isRefusedBy(error, 'NOSCRIPT')) throw error
      return this.#send(key, ['EVAL', script.text, '1', key, ...args])
    }
  }
}

/** The time left and not the moment: the server's clock may differ from the application's. */
function timeLeft(milliseconds: number): string {
  return String(Math.max(1, Math.ceil(milliseconds)))
}

async function isNodeOfCluster(
  greeting: Promise<unknown>,
  info: () => Promise<unknown>
): Promise<boolean> {
  try {
    await greeting
  } catch (error) {
    if (error instanceof Error && /^(MOVED|ASK) /.test(error.message)) return true
    throw error
  }
  // Who may not ask for it finds out by the first key that is elsewhere.
  return /cluster_enabled:1/.test(String(await info().catch(() => '')))
}
