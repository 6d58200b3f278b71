import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** What a child must not outlive: a test, or a run. */
export interface Lifetime {
  teardown(end: () => unknown): void
}

/** A script of this project in a process of its own. */
export interface Child {
  readonly process: ChildProcess
  /** Resolves to the first line of its output that matches. */
  line(pattern: RegExp): Promise<RegExpMatchArray>
  /** Resolves to the exit code, or to the signal that ended it. */
  ended(): Promise<number | NodeJS.Signals>
  /** Sends a signal and resolves to the exit code, or to the signal that ended it. */
  stop(signal: NodeJS.Signals): Promise<number | NodeJS.Signals>
}

/**
 * Starts a script by its path in the project; killed after its lifetime at the latest.
 *
 * @param under a command that is to run it, as a tracer
 */
export function startChild(
  lifetime: Lifetime,
  script: string,
  env: NodeJS.ProcessEnv,
  args: string[] = [],
  under: string[] = []
): Child {
  const [command = '', ...rest] = [...under, process.execPath, '--import', 'tsx']
  const child = spawn(command, [...rest, `${root}${script}`, ...args], {
    cwd: root,
    // tsx and tap lay the same source out in different lines, and coverage would mix them up.
    env: { PATH: process.env.PATH, _TAPJS_PROCESSINFO_COVERAGE_: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  lifetime.teardown(() => child.kill('SIGKILL'))
  const lines: string[] = []
  const waiting = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line)
      for (const look of waiting) look()
    })
  }
  const ended = async (): Promise<number | NodeJS.Signals> => {
    if (child.exitCode !== null) return child.exitCode
    if (child.signalCode !== null) return child.signalCode
    const [code, endedBy] = await once(child, 'exit')
    return code ?? endedBy
  }
  return {
    process: child,
    ended,
    line: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = lines.map((line) => pattern.exec(line)).find((match) => match !== null)
          if (found === undefined || found === null) return
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        child.once('close', () =>
          reject(new Error(`no line like ${pattern} in:\n${lines.join('\n')}`))
        )
        look()
      }),
    stop(signal) {
      child.kill(signal)
      return ended()
    }
  }
}
