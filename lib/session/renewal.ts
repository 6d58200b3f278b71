import { SessionBusyError } from '../errors.js'
import { announce, events } from '../events.js'
import { createSessionId, handleOf, shortHandle } from '../record/handle.js'
import { notesOf } from '../record/notes.js'
import type { SessionRecord } from '../record/record.js'
import { expiryFor, hand, holderAfter, leaves } from './attributes.js'
import { type Holder, type HolderChange, isLogin, isSilent, type Keep } from './login.js'
import { catchUp } from './reload.js'
import type { Leave } from './turnstile.js'
import type { UnitOfWork } from './unit-of-work.js'

const NOBODY: Holder = { principal: null, metadata: null }

/** Ends the session. */
export function destroy(work: UnitOfWork): Promise<void> {
  const { record, stored, registration, renewing } = work
  work.detach('ended')
  if (stored || work.lost) work.clearsCookie = true
  if (record === null || !stored) return Promise.resolve()
  const end = () => registration.store.destroy(record)
  // Ended before it is stored, it would be stored then.
  return settle(work, renewing === null ? end() : renewing.then(end), () =>
    announce(events.destroyed, registration.sessionName, record.handle)
  )
}

/** Moves the session to a new id. What is not kept whole is nobody's any more. */
export function renew(work: UnitOfWork, keep: Keep): Promise<void> {
  return inTurn(work, () => {
    detachIfEnded(work, false)
    const { record } = work
    return record === null ? Promise.resolve() : move(work, keep === true ? record : NOBODY, keep)
  })
}

/** Gives the session to somebody, under a new id unless `renews` is false. */
export async function setPrincipal(
  work: UnitOfWork,
  change: HolderChange,
  renews: boolean
): Promise<void> {
  const silent = isSilent(change)
  detachIfEnded(work, !silent)
  if (silent && work.record === null) return
  if (renews && work.record !== null) {
    await inTurn(work, () => {
      detachIfEnded(work, !silent)
      const holder = holderAfter(work, change)
      return move(work, holder, change.keep ?? !leaves(work, holder))
    })
    // Another process may have ended the session: then a login begins one, and a logout is done.
    if (work.record !== null || silent) return
  }
  hand(work, change)
}

/**
 * A login after somebody else's logout is no revival: it begins a new session. Who begins none
 * relies on the end of this one, and the response waits for it: should it fail, this one lives on.
 */
function detachIfEnded(work: UnitOfWork, begins: boolean): void {
  const { record, registration } = work
  if (!record?.destroyed) return
  if (!begins) work.hold(registration.store.save(record, null))
  work.detachLost()
}

/**
 * Moves the session when no exclusive route has it: what that changes would go to the former id,
 * and the next request for it would find the session as it was before. The route that has it may
 * move it itself; those behind it queue under the new id as well.
 *
 * @throws {SessionBusyError} after a bounded wait
 */
function inTurn(work: UnitOfWork, moves: () => Promise<void>): Promise<void> {
  const { record, registration } = work
  if (record === null || record.destroyed || !work.stored || work.hasTurn) return moves()
  const leave = registration.turns.tryEnter(record.handle)
  return leave === null ? waitForTurn(work, record, moves) : thenLeave(leave, moves)
}

async function waitForTurn(
  work: UnitOfWork,
  record: SessionRecord,
  moves: () => Promise<void>
): Promise<void> {
  const leave = await work.registration.turns.enter(record.handle)
  if (typeof leave === 'string') {
    throw new SessionBusyError('an exclusive route holds it for too long')
  }
  await thenLeave(leave, async () => {
    await catchUp(work)
    await moves()
  })
}

function thenLeave(leave: Leave, moves: () => Promise<void>): Promise<void> {
  let moving: Promise<void>
  try {
    moving = moves()
  } catch (error) {
    leave()
    throw error
  }
  moving.then(leave, leave)
  return moving
}

function move(work: UnitOfWork, holder: Holder, keep: Keep): Promise<void> {
  work.collect()
  const { record: old, registration } = work
  if (old === null) return Promise.resolve()
  const now = registration.now()
  const id = createSessionId()
  const fresh = registration.store.create({
    handle: handleOf(id),
    // A session that goes on under another id is as old as it was: absolute timeouts still count.
    createdAt: keep === false || isLogin(old, holder) ? now : old.createdAt,
    lastSeenAt: now,
    expiresAt: old.expiresAt
  })
  if (keep !== false) fresh.inherit(old, keep === true ? null : keep)
  fresh.expiry = expiryFor(work, holder, keep === false)
  fresh.principal = holder.principal
  fresh.metadata = holder.metadata
  work.moveTo(fresh, id)
  if (work.stored) return replace(work, old, fresh, keep)
  work.markDirty()
  return Promise.resolve()
}

function replace(
  work: UnitOfWork,
  old: SessionRecord,
  fresh: SessionRecord,
  keep: Keep
): Promise<void> {
  const { turns, store, sessionName } = work.registration
  // Until it is stored, setting again what it has is worth a write.
  const notes = notesOf(fresh)
  const revision = ++notes.revision
  // Whoever waits for the former id's turn has to wait for that of the new one, which nobody knows yet.
  const following = turns.follow(old.handle, fresh.handle)
  const replacing =
    following === undefined
      ? store.replace(old, fresh, keep)
      : following.then(() => store.replace(old, fresh, keep))
  work.renewing = replacing
  return settle(work, replacing, (replaced) => {
    notes.storedRevision = Math.max(notes.storedRevision, revision)
    if (replaced) announceRenewal(sessionName, old.handle, fresh.handle)
    else if (work.record === fresh) {
      // Another process ended the session while this one moved it.
      work.dropLost(fresh)
      work.detach('ended')
    }
  })
}

/** The response waits for what ends or moves its session. */
function settle<T>(
  work: UnitOfWork,
  change: Promise<T>,
  succeeded: (outcome: T) => void
): Promise<void> {
  const settling = change.then(succeeded, (error: unknown) => {
    work.liveOn()
    throw error
  })
  work.hold(settling)
  return settling
}

function announceRenewal(sessionName: string, previous: string, handle: string): void {
  if (!events.regenerated.hasSubscribers) return
  const session = shortHandle(handle)
  events.regenerated.publish({ sessionName, session, previous: shortHandle(previous) })
}
