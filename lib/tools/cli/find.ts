import { compareHandles } from '../../record/handle.js'
import type { SessionRecord } from '../../record/record.js'
import type { SessionStore } from '../../store/session-store.js'
import { CommandError, ExitCode } from './exit-code.js'

const HANDLE_LENGTH = 43
/** Log lines show eight characters; fewer would be guessing. */
const SHORTEST = 8

/**
 * The one session that has this handle, or one that begins with it.
 *
 * @throws {CommandError} if there is none, or more than one
 */
export async function findSession(store: SessionStore, handle: string): Promise<SessionRecord> {
  if (!/^[\w-]{8,43}$/.test(handle)) {
    throw new CommandError(
      ExitCode.WrongUsage,
      `A handle has ${HANDLE_LENGTH} characters of A-Z, a-z, 0-9, "-" and "_"; give at least ${SHORTEST}.`
    )
  }
  const found: SessionRecord[] = []
  // Stores list handles in the order of their bytes, so the walk starts at the first that can match.
  for await (const record of store.records(before(handle))) {
    if (record.handle.startsWith(handle)) found.push(record)
    else if (found.length > 0 || isBehind(record.handle, handle)) break
  }
  const [first] = found
  if (first === undefined) throw new CommandError(ExitCode.NotFound, 'There is no such session.')
  if (found.length > 1) {
    const problem = `${found.length} sessions begin with that handle: give more of it.`
    throw new CommandError(ExitCode.WrongUsage, problem)
  }
  return first
}

/**
 * The arguments of the process, with a handle that begins with a dash, as one in 64 does, moved behind
 * `--`: the parser would take it for an option.
 */
export function shieldHandles(args: readonly string[]): string[] {
  const at = args.findIndex(
    (arg, at) => DASHED_HANDLE.test(arg) && !TAKE_A_VALUE.has(args[at - 1] as string)
  )
  if (at === -1 || args.includes('--')) return [...args]
  return [...args.toSpliced(at, 1), '--', args[at] as string]
}

const TAKE_A_VALUE = new Set(['--principal', '--column-family', '--output', '--from', '--to'])

// Options have one dash and one letter, or two dashes and fewer than 41 characters.
const DASHED_HANDLE = /^-(?:\w[\w-]{6,41}|[\w-]{42})$/

/** A handle just before all that begin with these characters. */
function before(prefix: string): string {
  const bytes = Buffer.from(prefix.padEnd(HANDLE_LENGTH, 'A'), 'base64url')
  let at = bytes.length - 1
  while (at >= 0 && bytes[at] === 0) bytes[at--] = 0xff
  if (at < 0) return 'A'.repeat(HANDLE_LENGTH)
  bytes[at] = (bytes[at] as number) - 1
  return bytes.toString('base64url')
}

function isBehind(handle: string, prefix: string): boolean {
  return compareHandles(handle, prefix.padEnd(HANDLE_LENGTH, '_')) > 0
}
