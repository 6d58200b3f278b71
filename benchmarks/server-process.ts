import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Usage } from './server.js'

/** One peer's server, in a process of its own. */
export class ServerProcess {
  readonly port: number
  /** How long it took until the server listened, its store opened and its routes ready, in ms. */
  readonly startMs: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, started: { port: number; startMs: number }) {
    this.#child = child
    this.port = started.port
    this.startMs = started.startMs
  }

  static async start(peer: string, env: NodeJS.ProcessEnv): Promise<ServerProcess> {
    const child = fork(fileURLToPath(new URL('server.ts', import.meta.url)), [peer], {
      execArgv: ['--import', 'tsx'],
      env: { ...process.env, NODE_ENV: 'production', ...env }
    })
    const started = (await nextMessage(child)) as { port: number; startMs: number }
    return new ServerProcess(child, started)
  }

  get pid(): number {
    return this.#child.pid as number
  }

  /** What it has used since it was last asked; RSS and the peak of it as they are. */
  async usage(): Promise<Usage> {
    this.#child.send('usage')
    return (await nextMessage(this.#child)) as Usage
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}

async function nextMessage(child: ChildProcess): Promise<unknown> {
  const heard = new AbortController()
  const { signal } = heard
  try {
    const [message] = await Promise.race([
      once(child, 'message', { signal }),
      once(child, 'exit', { signal }).then(() => {
        throw new Error('the server ended')
      })
    ])
    return message
  } finally {
    heard.abort()
  }
}
