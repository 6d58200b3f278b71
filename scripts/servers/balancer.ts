import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/**
 * What stands in front of servers: each connection goes to the next of them. As with any balancer,
 * one is taken out by giving it nothing new and waiting for what it has.
 */
export class Balancer {
  readonly #server: Server
  /** By port. */
  readonly #backends = new Map<number, Set<Socket>>()
  #next = 0

  private constructor() {
    this.#server = createServer((socket) => this.#pass(socket))
  }

  static async start(): Promise<Balancer> {
    const balancer = new Balancer()
    balancer.#server.listen(0, '127.0.0.1')
    await once(balancer.#server, 'listening')
    return balancer
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** @param url where a server listens */
  add(url: string): void {
    this.#backends.set(portOf(url), new Set())
  }

  /** Resolves when it has nothing to do any more. */
  async remove(url: string): Promise<void> {
    const sockets = this.#backends.get(portOf(url)) ?? []
    this.#backends.delete(portOf(url))
    await Promise.all([...sockets].map((socket) => once(socket, 'close')))
  }

  close(): void {
    this.#server.close()
  }

  #pass(visitor: Socket): void {
    const ports = [...this.#backends.keys()]
    const port = ports[this.#next++ % ports.length]
    if (port === undefined) {
      visitor.destroy()
      return
    }
    const backend = connect(port, '127.0.0.1')
    const sockets = this.#backends.get(port)
    sockets?.add(backend)
    backend.on('close', () => sockets?.delete(backend))
    for (const [one, other] of [
      [visitor, backend],
      [backend, visitor]
    ] as const) {
      one.pipe(other)
      one.on('error', () => other.destroy())
    }
  }
}

function portOf(url: string): number {
  return Number(new URL(url).port)
}
