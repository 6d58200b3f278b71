import { DatabaseLockedError } from '../../../errors.js'
import { elapsed, pause } from '../../../timers.js'
import type { StoreLogger } from '../../session-store.js'
import { findHolder } from './lock.js'
import { isHeld } from './open-failure.js'

const RETRY_MS = 50

/** How to wait for a process that holds the database, as one that is being restarted does. */
export interface LockWait {
  /** In ms. */
  readonly timeout: number
  readonly log: StoreLogger
}

/**
 * Opens a database, and waits if another process has it. Whoever of this one has it keeps it.
 *
 * @throws {DatabaseLockedError} if it is still held when the time is over
 */
export async function whenFree<T>(
  path: string,
  wait: LockWait | null,
  open: () => Promise<T>
): Promise<T> {
  const start = elapsed()
  const left = (): number => (wait?.timeout ?? 0) - (elapsed() - start)
  for (let attempt = 0; ; attempt++) {
    try {
      const opened = await open()
      const waited = Math.round(elapsed() - start)
      if (attempt > 0) wait?.log.info({ path, waited }, 'the session database was let go of')
      return opened
    } catch (error) {
      if (!isOfAnother(error) || wait === null || left() <= 0) throw error
      if (attempt === 0) await sayWaiting(path, wait)
      await untilLetGo(path, left)
    }
  }
}

function isOfAnother(error: unknown): boolean {
  return (
    error instanceof DatabaseLockedError &&
    error.cause instanceof Error &&
    isHeld(error.cause.message)
  )
}

async function sayWaiting(path: string, { timeout, log }: LockWait): Promise<void> {
  const holder = await findHolder(path)
  log.warn(
    { path, holder, lockTimeout: timeout },
    `another process${holder === null ? '' : ` (pid ${holder})`} holds the session database; waiting up to ${timeout} ms for it to let go`
  )
}

/** At least once: where nobody tells who holds it, only an attempt shows it. */
async function untilLetGo(path: string, left: () => number): Promise<void> {
  do await pause(Math.max(0, Math.min(RETRY_MS, left())))
  while (left() > 0 && (await findHolder(path)) !== null)
}
