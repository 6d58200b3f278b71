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
  /** Starts it again, empty, on the same port. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** Starts one; `options` are arguments of redis-server. */
export async function startRedis(options: string[] = []): Promise<RedisProcess> {
  const port = await freePort()
  const fixed = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
  let server = await start(port, [...fixed, ...options])
  const kill = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return
    const exited = once(server, 'exit')
    server.kill('SIGKILL')
    await exited
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    freeze: () => void server.kill('SIGSTOP'),
    thaw: () => void server.kill('SIGCONT'),
    kill,
    async restart() {
      await kill()
      server = await start(port, [...fixed, ...options])
    },
    stop: kill
  }
}

async function start(port: number, args: string[]): Promise<ChildProcess> {
  const server = spawn('redis-server', args, { stdio: 'ignore' })
  const failed = once(server, 'error').then(([error]) => {
    throw new Error('redis-server cannot be started: is it installed?', { cause: error })
  })
  await Promise.race([accepts(port), failed])
  return server
}

async function accepts(port: number): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const socket = connect(port, '127.0.0.1')
    const connected = await once(socket, 'connect').then(
      () => true,
      () => false
    )
    socket.destroy()
    if (connected) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('redis-server does not start')
}
