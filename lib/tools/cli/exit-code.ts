/** How `sled-session` ends; scripts rely on these. docs/operating.md lists them. */
export const ExitCode = {
  Done: 0,
  Failed: 1,
  WrongUsage: 2,
  /** Another process holds the database, and the command has to write to it. */
  Held: 3,
  /** It did its work, and what it looked at is not as it should be. */
  ProblemsFound: 4,
  /** There is no such session. */
  NotFound: 5,
  /** As shells say it: 128 and the number of the signal. */
  Interrupted: 130,
  BrokenPipe: 141,
  Terminated: 143
} as const

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]

/** Ends a command with a code of its own; its message is for the user. */
export class CommandError extends Error {
  readonly exitCode: ExitCode

  constructor(exitCode: ExitCode, message: string) {
    super(message)
    this.exitCode = exitCode
  }
}

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommandError) return error.exitCode
  const { code } = error as { code?: unknown }
  if (code === 'EPIPE') return ExitCode.BrokenPipe
  if (code === 'SLED_SESSION_DATABASE_LOCKED') return ExitCode.Held
  if (code === 'SLED_SESSION_INVALID_OPTION') return ExitCode.WrongUsage
  return ExitCode.Failed
}

/** One line that says what went wrong, with what caused it where only that tells. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code } = error as { code?: unknown }
  const { cause } = error
  const tellsAll = code !== 'SLED_SESSION_STORE_UNAVAILABLE' || !(cause instanceof Error)
  return tellsAll ? error.message : `${error.message} (${messageOf(cause)})`
}
