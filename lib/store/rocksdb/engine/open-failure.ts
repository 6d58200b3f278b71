import {
  ColumnFamilyError,
  DatabaseLockedError,
  DatabaseOpenError,
  PathUnusableError
} from '../../../errors.js'
import { heldHere } from './claim.js'
import { describeHolder } from './lock.js'

/** What the error of a database that does not open means, and what to do about it. */
export async function explainOpenFailure(
  path: string,
  columnFamily: string,
  error: Error
): Promise<Error> {
  const reason = error.message
  const options = { cause: error }
  if (/lock hold by current process/i.test(reason)) return heldHere(path, options)
  if (isHeld(reason)) {
    return new DatabaseLockedError(
      path,
      await describeHolder(path),
      'stop it first, or give this one a path of its own. Several processes share sessions on a store made for that: LmdbStore on one machine, Redis or Valkey on many.',
      options
    )
  }
  const refusal = SYSTEM_ERRORS.find(({ text }) => reason.endsWith(`: ${text}`))
  if (refusal !== undefined) {
    const problem = `a file in it cannot be opened or made (${refusal.code})`
    return new PathUnusableError(path, problem, refusal.remedy, options)
  }
  if (/Column family not found/i.test(reason)) {
    return new ColumnFamilyError(
      path,
      `has no column family "${columnFamily}"`,
      'Name the one that the application uses.',
      options
    )
  }
  const families = /Column families not opened: (.*)/i.exec(reason)
  if (families !== null) {
    return new ColumnFamilyError(
      path,
      `has column families beside "${columnFamily}": ${families[1]}`,
      'It belongs to an application of its own: choose another path, or open it there and hand it in as "db".',
      options
    )
  }
  return new DatabaseOpenError(path, reason, options)
}

/** Whether another process has it. By how the reason begins and ends: the path between may hold any word. */
export function isHeld(reason: string): boolean {
  return (
    (/^(IO error: )?while lock file: /i.test(reason) &&
      reason.endsWith(': Resource temporarily unavailable')) ||
    // Windows locks by opening, and its words end so.
    /: The process cannot access the file because it is being used by another process\.?\s*$/.test(
      reason
    )
  )
}

const RIGHTS =
  'Give this process the right to read and write all files there: they may belong to another user who once ran it.'
const SPACE = 'Make room on that disk.'
const FILES = 'Raise the limit of open files.'

/** What the system refuses, in its words; files that are missing or damaged are none of these. */
const SYSTEM_ERRORS = [
  { text: 'Permission denied', code: 'EACCES', remedy: RIGHTS },
  { text: 'Operation not permitted', code: 'EPERM', remedy: RIGHTS },
  {
    text: 'Read-only file system',
    code: 'EROFS',
    remedy: 'Mount it writable, or name a folder elsewhere.'
  },
  {
    text: 'No locks available',
    code: 'ENOLCK',
    remedy: 'Name a folder on a file system that has locks: a local disk.'
  },
  { text: 'No space left on device', code: 'ENOSPC', remedy: SPACE },
  { text: 'Disk quota exceeded', code: 'EDQUOT', remedy: SPACE },
  { text: 'Too many open files', code: 'EMFILE', remedy: FILES },
  { text: 'Too many open files in system', code: 'ENFILE', remedy: FILES }
]
