import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { freePort } from './ports.js'

/** A Redis server of our own on a free port, that keeps nothing on disk. */
export interface RedisProcess {
  readonly url: string
  readonly port: number
  /** Stops it as a frozen machine would: connections stay open, and nothing answers. */
  freeze(): void
  thaw(): void
  /** Ends it at once. */
  kill(): Promise<void>
  /** Starts it again on the same port: empty, unless its options make it keep something. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** Starts one; `options` are arguments of redis-server, of which the last one holds. */
export async function startRedis(options: string[] = [], onPort?: number): Promise<RedisProcess> {
  const port = onPort ?? (await freePort())
  const fixed = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
  let server = await startServer(port, [...fixed, ...options])
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    freeze: () => server.signal('SIGSTOP'),
    thaw: () => server.signal('SIGCONT'),
    kill: () => server.kill(),
    async restart() {
      await server.kill()
      server = await startServer(port, [...fixed, ...options])
    },
    stop: () => server.kill()
  }
}

/** Those that run: a test that ends without its teardown must not leave them behind. */
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const server of running) server.kill('SIGKILL')
})

/** Starts redis-server with these arguments; resolves when it accepts connections. */
export async function startServer(port: number, args: string[]) {
  const server = spawn('redis-server', args, { stdio: 'ignore' })
  running.add(server)
  server.once('exit', () => running.delete(server))
  const failed = once(server, 'error').then(([error]) => {
    throw new Error('redis-server cannot be started: is it installed?', { cause: error })
  })
  await Promise.race([accepts(port), failed])
  return {
    signal: (signal: NodeJS.Signals): void => void server.kill(signal),
    /** Ends it at once. */
    async kill(): Promise<void> {
      if (server.exitCode !== null || server.signalCode !== null) return
      const exited = once(server, 'exit')
      server.kill('SIGKILL')
      await exited
    }
  }
}

async function accepts(port: number): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt++) {
    const socket = connect(port, '127.0.0.1')
    const connected = await once(socket, 'connect').then(
      () => true,
      () => false
    )
    socket.destroy()
    if (connected) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error('redis-server does not start')
}
