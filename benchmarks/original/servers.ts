import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export type Side = 'ours' | 'original'

const here = fileURLToPath(new URL('.', import.meta.url))
const BINARY = `${here}target/release/original`
/** Of /proc/PID/stat; the same on all Linux machines. */
const MICROSECONDS_PER_TICK = 10_000

/** Builds the original, or says what is missing. */
export function build(): boolean {
  if (spawnSync('cargo', ['--version'], { stdio: 'ignore' }).status !== 0) {
    console.log('skipped: the original needs cargo, 1.85 or newer: https://rustup.rs')
    return false
  }
  execFileSync('cargo', ['build', '--release', '--locked'], { cwd: here, stdio: 'inherit' })
  return true
}

/** Fills a folder with the original's own store. */
export function fillOriginal(folder: string, count: number, expired: number): void {
  execFileSync(BINARY, ['fill', folder, String(count), String(expired)], { stdio: 'inherit' })
}

export interface Conditions {
  readonly folder: string
  /** Which cores the server may have, as `taskset` takes them; all of them without. */
  readonly cores?: string
  /** How long a session lives without a change. */
  readonly expirySeconds?: number
}

/** One side's server, in a process of its own. What it uses is read from the system. */
export class Server {
  readonly port: number
  readonly startMs: number
  readonly #child: ChildProcess
  #ticks = 0

  private constructor(child: ChildProcess, { port, startMs }: { port: number; startMs: number }) {
    this.#child = child
    this.port = port
    this.startMs = startMs
  }

  static async start(side: Side, conditions: Conditions): Promise<Server> {
    const { folder, cores, expirySeconds = 10 } = conditions
    const threads = cores === undefined ? '2' : '1'
    const program =
      side === 'original'
        ? [BINARY, 'serve', folder, threads]
        : [process.execPath, '--import', 'tsx', `${here}ours.ts`, folder, String(expirySeconds)]
    const [command = '', ...args] =
      cores === undefined ? program : ['taskset', '-c', cores, ...program]
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_ENV: 'production', EXPIRY_SECONDS: String(expirySeconds) }
    })
    const [line] = await once(createInterface(child.stdout as NodeJS.ReadableStream), 'line')
    return new Server(child, JSON.parse(line))
  }

  /** CPU time of all its threads since it was last asked, in µs, and its RSS in bytes. */
  async usage(): Promise<{ cpu: number; rss: number }> {
    const stat = await readFile(`/proc/${this.#child.pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const ticks = Number(fields[11]) + Number(fields[12])
    const cpu = (ticks - this.#ticks) * MICROSECONDS_PER_TICK
    this.#ticks = ticks
    const status = await readFile(`/proc/${this.#child.pid}/status`, 'utf8')
    return { cpu, rss: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024 }
  }

  /** Without a word to it, as the system's own out-of-memory killer does it. */
  async kill(): Promise<void> {
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}
