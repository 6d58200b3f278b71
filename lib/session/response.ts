import { notesOf } from '../record/notes.js'
import type { SessionRecord } from '../record/record.js'
import { type Due, NOTHING, noteActivity, whatIsDue } from './activity.js'
import type { Done } from './calls.js'
import { save, write } from './saving.js'
import type { CookieAction, UnitOfWork } from './unit-of-work.js'

/** Whether a response may have something to wait for; false is certain. */
export function mayHaveToCommit(work: UnitOfWork): boolean {
  if (work.calls !== null || work.closed || work.mayBeModified) return true
  return work.record !== null && dueFor(work, work.record).touch
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
  const due = record === null ? NOTHING : dueFor(work, record)
  if (record === null || !(work.isDirty || due.touch)) {
    done(null)
    return
  }
  if (due.activity) noteActivity(record, work.registration)
  write(work, record, done)
}

/** What a response must say, given that all is saved; the next call says only what is new. */
export function takeCookieAction(work: UnitOfWork): CookieAction {
  const { sendsCookie, clearsCookie, begun } = work
  work.sendsCookie = false
  work.clearsCookie = false
  if (begun === null || begun.destroyed || begun.failure !== null || !work.stored) {
    return clearsCookie ? 'clear' : 'none'
  }
  if (!sendsCookie && !dueFor(work, begun).cookie) return 'none'
  notesOf(begun).toldExpiresAt = begun.expiresAt
  return 'set'
}

/** Nothing, of a record that is not stored, or no longer stands for what is. */
function dueFor(work: UnitOfWork, record: SessionRecord): Due {
  if (!work.stored || record.failure !== null) return NOTHING
  return whatIsDue('response', record, work.registration)
}
