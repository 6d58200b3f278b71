import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import autocannon from 'autocannon'

/** What one peer did in one round of one workload. */
export interface Measurement {
  readonly requestsPerSecond: number
  /** In ms. */
  readonly p50: number
  readonly p99: number
  /** Of the server process, in µs. */
  readonly cpuPerRequest: number
  /** Of the server process after the round, in bytes. */
  readonly rss: number
}

export interface Load {
  readonly path: string
  /** Whether each connection is a known visitor with a session, and keeps its cookies. */
  readonly known: boolean
  readonly seconds: number
  readonly warmUpSeconds: number
}

const CONNECTIONS = 50

/** Runs one peer in a process of its own under load. */
export async function measure(
  peer: string,
  load: Load,
  env: NodeJS.ProcessEnv
): Promise<Measurement> {
  const server = fork(fileURLToPath(new URL('server.ts', import.meta.url)), [peer], {
    execArgv: ['--import', 'tsx'],
    env: { ...process.env, NODE_ENV: 'production', ...env }
  })
  try {
    const { port } = (await message(server)) as { port: number }
    const url = `http://127.0.0.1:${port}${load.path}`
    const jars = load.known ? await visitAll(`http://127.0.0.1:${port}/counter`) : []
    await fire(url, jars, load.warmUpSeconds)
    const before = await usage(server)
    const result = await fire(url, jars, load.seconds)
    const after = await usage(server)
    if (result.non2xx > 0 || result.errors > 0) {
      throw new Error(
        `${peer} on ${load.path}: ${result.non2xx} bad answers, ${result.errors} errors`
      )
    }
    return {
      requestsPerSecond: result.requests.total / result.duration,
      p50: result.latency.p50,
      p99: result.latency.p99,
      cpuPerRequest: (after.cpu - before.cpu) / result.requests.total,
      rss: after.rss
    }
  } finally {
    server.kill('SIGKILL')
    await once(server, 'exit')
  }
}

async function message(server: ChildProcess): Promise<unknown> {
  const [first] = await Promise.race([
    once(server, 'message'),
    once(server, 'exit').then(() => {
      throw new Error('the server ended')
    })
  ])
  return first
}

async function usage(server: ChildProcess): Promise<{ cpu: number; rss: number }> {
  server.send('usage')
  return (await message(server)) as { cpu: number; rss: number }
}

/** What autocannon's types leave out of a client. */
interface Client {
  on(event: 'headers', listener: (response: { headers: string[] }) => void): void
  setHeaders(headers: Record<string, string>): void
}

type Jar = Map<string, string>

/** One visit for each connection, so that it has a session to come back to. */
function visitAll(url: string): Promise<Jar[]> {
  return Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const response = await fetch(url)
      const jar: Jar = new Map()
      for (const cookie of response.headers.getSetCookie()) put(jar, cookie)
      return jar
    })
  )
}

function fire(url: string, jars: Jar[], seconds: number): Promise<autocannon.Result> {
  let next = 0
  return autocannon({
    url,
    connections: CONNECTIONS,
    duration: seconds,
    setupClient(client) {
      const jar = jars[next++]
      if (jar !== undefined) keepCookies(client as unknown as Client, jar)
    }
  })
}

/** True if the jar did not have exactly this. */
function put(jar: Jar, setCookie: string): boolean {
  const pair = setCookie.split(';', 1)[0] ?? ''
  const name = pair.slice(0, pair.indexOf('='))
  if (jar.get(name) === pair) return false
  jar.set(name, pair)
  return true
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
