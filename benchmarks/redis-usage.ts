import { createClient } from 'redis'

/** What servers have done since they started. */
export interface RedisTotals {
  /** CPU time of each server, in µs. */
  readonly cpu: readonly number[]
  /** By each server; those that scripts call count as well. */
  readonly commands: readonly number[]
}

/** What asking for it costs is not counted. */
const OUR_OWN = new Set(['info', 'config|resetstat', 'hello', 'client|setinfo'])

/** Looks into Redis servers from beside, through connections of its own. */
export class RedisWatch {
  readonly #clients: Awaited<ReturnType<typeof connect>>[]

  private constructor(clients: Awaited<ReturnType<typeof connect>>[]) {
    this.#clients = clients
  }

  static async on(urls: readonly string[]): Promise<RedisWatch> {
    return new RedisWatch(await Promise.all(urls.map(connect)))
  }

  async totals(): Promise<RedisTotals> {
    const infos = await Promise.all(this.#clients.map((client) => client.info('all')))
    return { cpu: infos.map(cpuIn), commands: infos.map(commandsIn) }
  }

  /** What has been done since then. */
  async since({ cpu, commands }: RedisTotals): Promise<RedisTotals> {
    const now = await this.totals()
    return {
      cpu: now.cpu.map((value, at) => value - (cpu[at] ?? 0)),
      commands: now.commands.map((value, at) => value - (commands[at] ?? 0))
    }
  }

  /** The memory that all of them use, in bytes. */
  async memory(): Promise<number> {
    const infos = await Promise.all(this.#clients.map((client) => client.info('memory')))
    return sum(infos.map((info) => Number(/^used_memory:(\d+)/m.exec(info)?.[1])))
  }

  async empty(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.flushAll()))
  }

  close(): void {
    for (const client of this.#clients) client.destroy()
  }
}

async function connect(url: string) {
  const client = createClient({ url })
  await client.connect()
  return client
}

function cpuIn(info: string): number {
  const seconds = [...info.matchAll(/^used_cpu_(?:sys|user):([\d.]+)/gm)]
  return sum(seconds.map(([, text]) => 1e6 * Number(text)))
}

function commandsIn(info: string): number {
  const stats = [...info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)]
  return sum(stats.map(([, name, calls]) => (OUR_OWN.has(name ?? '') ? 0 : Number(calls))))
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
