import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** One request, and what is to be done with the cookie that its answer may set. */
export interface Shot {
  readonly path: string
  /** The value of the Cookie header, or `''` for none. */
  readonly cookie: string
  readonly answered?: (setCookie: string | null) => void
}

export interface Hits {
  readonly requests: number
  readonly seconds: number
  /** Latencies, in µs. */
  readonly latency: RecordableHistogram
}

/**
 * A keep-alive connection that does no more than the benchmarks need: it counts bytes by
 * Content-Length and reads status and cookie. A full HTTP client would take more CPU than the
 * servers that it is to measure.
 */
class Connection {
  readonly #socket: Socket
  #received = ''
  #done: ((setCookie: string | null) => void) | null = null

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay()
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => this.#receive(chunk))
    socket.on('close', () => {
      if (this.#done !== null) throw new Error('the server closed a connection')
    })
  }

  static async open(port: number): Promise<Connection> {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    return new Connection(socket)
  }

  send({ path, cookie }: Shot, done: (setCookie: string | null) => void): void {
    this.#done = done
    const header = cookie === '' ? '' : `Cookie: ${cookie}\r\n`
    this.#socket.write(
      `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n${header}\r\n`,
      'latin1'
    )
  }

  close(): void {
    this.#socket.destroy()
  }

  #receive(chunk: string): void {
    this.#received = this.#received === '' ? chunk : this.#received + chunk
    const bodyAt = this.#received.indexOf('\r\n\r\n') + 4
    if (bodyAt === 3) return
    const head = this.#received.slice(0, bodyAt)
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
    if (this.#received.length < bodyAt + length) return
    this.#received = ''
    if (!head.startsWith('HTTP/1.1 200')) throw new Error(`bad answer: ${head.slice(0, 200)}`)
    const done = this.#done
    this.#done = null
    done?.(/set-cookie: ([^;\r]*)/i.exec(head)?.[1] ?? null)
  }
}

/** One server's port, or those of several, which then have the same number of connections. */
export type Ports = number | readonly number[]

function openAll(ports: Ports, count: number): Promise<Connection[]> {
  const all = typeof ports === 'number' ? [ports] : ports
  return Promise.all(
    Array.from({ length: count }, (_, at) => Connection.open(all[at % all.length] as number))
  )
}

/** Sends on each connection the next request as soon as the last one is answered. */
export async function closedLoop(
  ports: Ports,
  connections: number,
  next: () => Shot | null
): Promise<Hits> {
  const latency = createHistogram()
  const opened = await openAll(ports, connections)
  const begun = performance.now()
  let requests = 0
  await Promise.all(
    opened.map(
      (connection) =>
        new Promise<void>((resolve) => {
          const fire = (): void => {
            const shot = next()
            if (shot === null) {
              resolve()
              return
            }
            const sentAt = performance.now()
            connection.send(shot, (setCookie) => {
              latency.record(Math.max(1, Math.round((performance.now() - sentAt) * 1000)))
              requests++
              shot.answered?.(setCookie)
              fire()
            })
          }
          fire()
        })
    )
  )
  const seconds = (performance.now() - begun) / 1000
  for (const connection of opened) connection.close()
  return { requests, seconds, latency }
}

/**
 * Sends at a fixed rate, whatever the server does. A latency counts from the moment at which its
 * request was due, so that a server that stalls cannot hide how long others had to wait
 * ("coordinated omission").
 */
export async function openLoop(
  port: number,
  connections: number,
  rate: number,
  seconds: number,
  next: () => Shot
): Promise<Hits> {
  const latency = createHistogram()
  const idle = await openAll(port, connections)
  const opened = [...idle]
  const total = Math.round(rate * seconds)
  const begun = performance.now()
  const waiting: number[] = []
  let scheduled = 0
  let answered = 0
  const fire = (): void => {
    while (waiting.length > 0 && idle.length > 0) {
      const dueAt = waiting.shift() as number
      const connection = idle.pop() as Connection
      const shot = next()
      connection.send(shot, (setCookie) => {
        latency.record(Math.max(1, Math.round((performance.now() - dueAt) * 1000)))
        answered++
        shot.answered?.(setCookie)
        idle.push(connection)
        fire()
      })
    }
  }
  while (answered < total) {
    const now = performance.now()
    for (; scheduled < total && begun + (scheduled / rate) * 1000 <= now; scheduled++) {
      waiting.push(begun + (scheduled / rate) * 1000)
    }
    fire()
    // A timer would come by at whole milliseconds only.
    await new Promise((resolve) => setImmediate(resolve))
  }
  for (const connection of opened) connection.close()
  return { requests: answered, seconds: (performance.now() - begun) / 1000, latency }
}
