import { notesOf } from '../record/notes.js'
import { noteActivity, whatIsDue } from './activity.js'
import type { Done } from './calls.js'
import { save, write } from './saving.js'
import type { CookieAction, UnitOfWork } from './unit-of-work.js'

/** Whether a response may have something to wait for; false is certain. */
export function mayHaveToCommit(work: UnitOfWork): boolean {
  return work.calls !== null || work.closed || work.mayBeModified || savesAlways(work)
}

/**
 * Stores what a response must wait for. Calls back when that is durable, which is at once if
 * there is nothing to store.
 */
export function commit(work: UnitOfWork, done: Done): void {
  const { calls } = work
  if (calls !== null) {
    work.calls = null
    calls.settle((error) => (error === null ? commit(work, done) : done(error)))
    return
  }
  // The client went away: changes go the way of late ones.
  if (work.closed) {
    save(work).then(() => done(null), done)
    return
  }
  try {
    work.collect()
  } catch (error) {
    done(error as Error)
    return
  }
  const record = work.begun
  const always = savesAlways(work)
  if (record === null || !(work.isDirty || always)) {
    done(null)
    return
  }
  if (always) noteActivity(record, work.registration)
  write(work, record, done)
}

/** With `alwaysSave` each response counts as activity, and stores its session. */
function savesAlways({ registration, record, stored }: UnitOfWork): boolean {
  return registration.alwaysSave && stored && record !== null && record.failure === null
}

/**
 * What a response must say, given that all that it promises is saved; the next call says only what
 * is new. That the session was used is left to the background.
 */
export function conclude(work: UnitOfWork): CookieAction {
  const { sendsCookie, clearsCookie, begun } = work
  work.sendsCookie = false
  work.clearsCookie = false
  if (begun === null || begun.destroyed || begun.failure !== null || !work.stored) {
    return clearsCookie ? 'clear' : 'none'
  }
  const due = whatIsDue('response', begun, work.registration)
  if (due.touch) work.registration.touches.plan(begun)
  if (!sendsCookie && !due.cookie) return 'none'
  notesOf(begun).toldExpiresAt = begun.expiresAt
  return 'set'
}
