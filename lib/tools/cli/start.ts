import type { CommonOptions, Context } from './command.js'
import { CommandError, ExitCode, exitCodeOf, messageOf } from './exit-code.js'
import { Output } from './output.js'
import { endProgress } from './progress.js'

/** Of commands that, run again, go on where they were stopped. */
export const RESUMES = ' Run it again to go on.'

const SIGNALS = { SIGINT: ExitCode.Interrupted, SIGTERM: ExitCode.Terminated } as const

/**
 * Runs a command, with all that may happen: errors, signals and the end of the process.
 *
 * @param next what the user is told of one that was stopped
 */
export async function start(
  { json = false, columnFamily, store: kind }: CommonOptions,
  run: (context: Context) => Promise<ExitCode>,
  next: '' | typeof RESUMES = ''
): Promise<void> {
  const output = new Output(json)
  const stopping = new AbortController()
  for (const [signal, exitCode] of Object.entries(SIGNALS)) {
    // Once: the second signal then ends the process at once, by Node's default.
    process.once(signal, () => {
      endProgress()
      stopping.abort(new CommandError(exitCode, `Stopped.${next}`))
    })
  }
  const { signal } = stopping
  try {
    process.exitCode = await run({ output, signal, columnFamily, kind })
  } catch (error) {
    // An error after the signal is a consequence of stopping.
    const reason = signal.aborted ? signal.reason : error
    process.exitCode = exitCodeOf(reason)
    const { code } = reason as { code?: unknown }
    if (process.exitCode !== ExitCode.BrokenPipe) output.failure(messageOf(reason), code)
  }
}
