import { StoreDamagedError, StoreUnavailableError } from '../../../errors.js'
import type { StoreLogger } from '../../session-store.js'

/**
 * Whether RocksDB has met bytes of its own that are not what it wrote. The binding gives the words
 * of a status without its kind, and EIO for a full disk too. What the system refused begins with
 * what RocksDB was doing at the time, and may have any path in it.
 */
export function isDamage(error: unknown): boolean {
  return reasons(error).some((text) => !FROM_SYSTEM.test(text) && DAMAGE.test(text))
}

/** Whether a read has failed for one place of a file alone: it is damaged, or its sector is. */
export function isUnreadable(error: unknown): boolean {
  return isDamage(error) || reasons(error).some((text) => BAD_SECTOR.test(text))
}

/** The 503 of whatever RocksDB threw; a damaged file is told apart, as trying again is no use. */
export function databaseFailure(operation: string, error: unknown): Error {
  if (error instanceof StoreUnavailableError || error instanceof StoreDamagedError) return error
  return isUnreadable(error)
    ? new StoreDamagedError(operation, { cause: error })
    : new StoreUnavailableError(operation, { cause: error })
}

/** Says once what is damaged, however many requests meet it. */
export class DamageLog {
  readonly #path: string
  readonly #log: StoreLogger
  readonly #said = new Set<string>()

  constructor(path: string, log: StoreLogger) {
    this.#path = path
    this.#log = log
  }

  readonly noteRead = (error: unknown): void => {
    if (!isUnreadable(error)) return
    this.#say(
      error,
      'a file of the session database is damaged: the sessions in that place cannot be read. Restore a backup; "sled-session verify" tells what is missing'
    )
  }

  readonly noteRewrite = (error: unknown): void => {
    this.#say(
      error,
      'RocksDB cannot rewrite a damaged file, and takes no writes until the session database is opened anew, which is done now, and not a second time. Restore a backup'
    )
  }

  readonly noteWrite = (error: unknown): void => {
    this.#say(
      error,
      'the session database takes no more writes, for a file of it is damaged. Restore a backup, or move what can be read to a new folder with "sled-session export" and "import"'
    )
  }

  #say(error: unknown, message: string): void {
    if (this.#said.has(message)) return
    this.#said.add(message)
    this.#log.error({ err: error, path: this.#path }, message)
  }
}

const FROM_SYSTEM = /^While /
const DAMAGE = /checksum mismatch|corrupt|truncated block|bad block|bad entry|file is too short/i
const BAD_SECTOR = /^While .*: Input\/output error$/

/** The messages of an error and of all that caused it. */
function reasons(error: unknown): string[] {
  if (!(error instanceof Error)) return []
  const parts = error instanceof AggregateError ? (error.errors as unknown[]) : []
  return [error.message, ...[error.cause, ...parts].flatMap(reasons)]
}
