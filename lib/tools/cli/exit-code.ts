/** How `sled-session` ends; scripts rely on these. docs/operating.md lists them. */
export const ExitCode = {
  Done: 0,
  Failed: 1,
  WrongUsage: 2,
  /** Another process holds the database, and the command has to write to it. */
  Held: 3,
  /** The command has done its work, and found something wrong with the database. */
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

/** One line that says what went wrong and all that caused it, in the words of the command. */
export function messageOf(error: unknown): string {
  const reasons = reasonsOf(error).map((reason) => reason.replace(/\.?$/, ''))
  // Most of our errors quote their cause already.
  const told = reasons.filter(
    (reason, at) => !reasons.slice(0, at).some((said) => said.includes(reason))
  )
  const all = told.join(': ')
  const remedy = REMEDIES.find(([reason]) => reason.test(all))?.[1] ?? ''
  return `${inCommandsWords(all)}.${remedy}`
}

/** Right for a server. A command that is only run again fails for the same reason. */
const ADVICE_OF_SERVERS = / Nothing was acknowledged; try again\.$/

function reasonsOf(error: unknown): string[] {
  if (!(error instanceof Error)) return [String(error)]
  const parts = error instanceof AggregateError ? (error.errors as unknown[]) : []
  const causes = [...(error.cause === undefined ? [] : [error.cause]), ...parts]
  return [error.message.replace(ADVICE_OF_SERVERS, ''), ...causes.flatMap(reasonsOf)]
}

const REMEDIES: readonly (readonly [RegExp, string])[] = [
  [/No space left on device|ENOSPC/, ' Make room on that disk, then run it again.'],
  [/Disk quota exceeded|EDQUOT/, ' Make room within the quota, then run it again.'],
  [/Read-only file system/, ' The file system is read-only (EROFS): mount it to write.']
]

/** Options of the API by the names that the command has for them. */
const WORDS: Readonly<Record<string, string>> = {
  columnFamily: '--column-family',
  path: '<database>',
  folder: '<folder>',
  from: '<backup>',
  to: '<database>',
  url: 'the URL'
}

function inCommandsWords(message: string): string {
  return message
    .replace(/^fastify-sled-session: option "(\w+)"/, (all, name: string) => WORDS[name] ?? all)
    .replaceAll('"maxRecordSize" sets that', '--max-record-size sets that')
}
