import type { RecordableHistogram } from 'node:perf_hooks'
import autocannon from 'autocannon'
import type { Hits } from './http-client.js'
import type { ServerProcess } from './server-process.js'

/** What one peer did in one round of one workload. */
export interface Measurement {
  readonly requestsPerSecond: number
  /** In ms, as are all latencies. */
  readonly p50: number
  readonly p99: number
  readonly p999: number
  /** CPU time of the server process with all its threads, in µs. */
  readonly cpuPerRequest: number
  /** The part of the time in which the server's event loop was busy, 0 to 1. */
  readonly busy: number
  readonly loopDelayP99: number
  /** Of the server process after the round, in bytes. */
  readonly rss: number
  /** How long the server took to start, in ms. */
  readonly startMs: number
}

export const CONNECTIONS = 50

/** Cookies of one visitor, by name, as `name=value`. */
export type Jar = Map<string, string>

/** True if the jar did not have exactly this. */
function put(jar: Jar, setCookie: string): boolean {
  const pair = setCookie.split(';', 1)[0] ?? ''
  const name = pair.slice(0, pair.indexOf('='))
  if (jar.get(name) === pair) return false
  jar.set(name, pair)
  return true
}

/** As long as a session cookie: servers that need none get one too, and have to parse it. */
const PLACEHOLDER: [string, string] = ['id', `id=${'A'.repeat(43)}`]

/** One visit for each connection, so that it has a session to come back to. */
export function visitAll(port: number, path: string): Promise<Jar[]> {
  return Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`)
      await response.arrayBuffer()
      const jar: Jar = new Map()
      for (const cookie of response.headers.getSetCookie()) put(jar, cookie)
      if (jar.size === 0) jar.set(...PLACEHOLDER)
      return jar
    })
  )
}

/** Runs autocannon with one visitor a connection. Without jars all are strangers. */
export async function cannonade(
  server: ServerProcess,
  path: string,
  jars: Jar[],
  seconds: number
): Promise<Measurement> {
  let next = 0
  await server.usage()
  const result = await autocannon({
    url: `http://127.0.0.1:${server.port}${path}`,
    connections: CONNECTIONS,
    duration: seconds,
    setupClient(client) {
      const jar = jars[next++]
      if (jar !== undefined) keepCookies(client as unknown as Client, jar)
    }
  })
  const { cpu, busy, loopDelayP99, rss } = await server.usage()
  if (result.non2xx > 0 || result.errors > 0) {
    throw new Error(`${path}: ${result.non2xx} bad answers, ${result.errors} errors`)
  }
  const { p50, p99, p99_9: p999 } = result.latency
  return {
    requestsPerSecond: result.requests.total / result.duration,
    ...{ p50, p99, p999 },
    cpuPerRequest: cpu / result.requests.total,
    ...{ busy, loopDelayP99, rss, startMs: server.startMs }
  }
}

/** The measurement of what the benchmarks' own client has done. */
export async function measured(server: ServerProcess, hits: Hits): Promise<Measurement> {
  const { cpu, busy, loopDelayP99, rss } = await server.usage()
  const ms = (percentile: number): number => inMs(hits.latency, percentile)
  return {
    requestsPerSecond: hits.requests / hits.seconds,
    ...{ p50: ms(50), p99: ms(99), p999: ms(99.9) },
    cpuPerRequest: cpu / hits.requests,
    ...{ busy, loopDelayP99, rss, startMs: server.startMs }
  }
}

function inMs(latency: RecordableHistogram, percentile: number): number {
  return latency.percentile(percentile) / 1000
}

/** What autocannon's types leave out of a client. */
interface Client {
  on(event: 'headers', listener: (response: { headers: string[] }) => void): void
  setHeaders(headers: Record<string, string>): void
}

function keepCookies(client: Client, jar: Jar): void {
  const send = (): void => client.setHeaders({ cookie: [...jar.values()].join('; ') })
  send()
  client.on('headers', ({ headers }) => {
    let changed = false
    for (let at = 0; at < headers.length; at += 2) {
      if (headers[at]?.toLowerCase() === 'set-cookie') {
        changed = put(jar, headers[at + 1] ?? '') || changed
      }
    }
    if (changed) send()
  })
}
