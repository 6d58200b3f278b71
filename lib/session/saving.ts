import { announce, events } from '../events.js'
import { shortHandle } from '../record/handle.js'
import { notesOf } from '../record/notes.js'
import type { SessionRecord } from '../record/record.js'
import { noteActivity } from './activity.js'
import type { Done } from './calls.js'
import { isLeft } from './login.js'
import type { UnitOfWork } from './unit-of-work.js'

/** Stores what has changed and resolves when that is durable. */
export function save(work: UnitOfWork): Promise<void> {
  const saving = saveChanges(work)
  if (!work.closed) work.hold(saving)
  return saving
}

async function saveChanges(work: UnitOfWork): Promise<void> {
  if (!work.isModified) return
  const record = work.begun
  if (record === null) return
  if (!work.closed) await store(work, record)
  else if (work.stored) await saveLate(work, record)
  else dropUnsent(work, record)
}

/** Stores what was changed after the response, or outside any. */
async function saveLate(work: UnitOfWork, record: SessionRecord): Promise<void> {
  if (work.isUnshared) await store(work, record)
  else await saveShared(work, record)
  const current = work.record
  if (current?.destroyed && !work.isDead(current)) await follow(work, current)
}

/**
 * As `save`, for who has called `followRenewals`: what was changed is stored in the session
 * that this one was renewed to.
 *
 * @returns false if the session has ended, and its changes with it
 */
export async function saveFollowing(work: UnitOfWork): Promise<boolean> {
  await save(work)
  if (work.record?.destroyed) await follow(work, work.record)
  return !work.lost
}

async function saveShared(work: UnitOfWork, record: SessionRecord): Promise<void> {
  const live = await work.registration.store.loadByHandle(record.handle)
  if (live === null) {
    if (!record.destroyed || work.isDead(record)) work.dropLost(record)
    return
  }
  if (live !== record) {
    // An earlier write of this object has failed, and another one stands for the session: it gets
    // what was set since. All else that this one has may be older than a logout.
    for (const [key, text] of work.draft?.changes ?? []) live.apply(key, text)
    Object.assign(live, work.draft?.attributes)
    if (work.draft?.moved) noteActivity(live, work.registration)
    notesOf(live).revision++
    work.record = live
  }
  await store(work, live)
}

/** Goes on with the record that a renewal has put in the place of this one, and changes that. */
async function follow(work: UnitOfWork, record: SessionRecord): Promise<void> {
  const next = await work.registration.store.successorOf(record)
  // Unless another save of this request was here first.
  if (work.record === record) {
    // What was meant for one user is nothing for the next.
    if (next === null || isLeft(record, next)) work.dropLost(record)
    else carryOver(work, record, next)
  }
  await saveChanges(work)
}

/** Changes the next record of the session as this one was. */
function carryOver(work: UnitOfWork, from: SessionRecord, next: SessionRecord): void {
  const { followed, isDirty } = work
  const changes = work.edit().take()
  work.record = next
  work.id = null
  work.followRenewals()
  for (const [key, text] of changes ?? []) work.change(key, text)
  if (from.metadata !== followed?.metadata) next.metadata = from.metadata
  if (from.expiry !== followed?.expiry) next.expiry = from.expiry
  if (!isDirty) return
  notesOf(next).revision++
  noteActivity(next, work.registration)
  work.markDirty()
}

function store(work: UnitOfWork, record: SessionRecord): Promise<void> {
  return new Promise((resolve, reject) => {
    write(work, record, (error) => (error === null ? resolve() : reject(error)))
  })
}

/** Calls back instead of returning a promise: each response that changes something comes by. */
export function write(work: UnitOfWork, record: SessionRecord, done: Done): void {
  const { phase, registration } = work
  const notes = notesOf(record)
  const { revision } = notes
  const changes = work.draft?.take() ?? null
  work.phase = 'stored'
  if (changes !== null) noteActivity(record, registration)
  notes.storedSeenAt = record.lastSeenAt
  notes.storedExpiresAt = record.expiresAt
  registration.touches.drop(record.handle)
  const failed = (error: Error): void => {
    if (work.stored) work.phase = phase
    done(error)
  }
  registration.store.save(record, changes).then(() => {
    notes.storedRevision = Math.max(notes.storedRevision, revision)
    // Unless this request itself has ended it meanwhile, and is on another by now.
    if (record.destroyed && work.record === record) {
      if (work.isDead(record)) work.dropLost(record)
      else work.edit().restore(changes)
    } else {
      const event = phase === 'stored' ? events.saved : events.created
      announce(event, registration.sessionName, record.handle)
    }
    done(null)
  }, failed)
}

function dropUnsent(work: UnitOfWork, record: SessionRecord): void {
  work.detach('none')
  work.registration.log.warn(
    { session: shortHandle(record.handle) },
    'a new session was dropped: its response has left without a cookie. Set values before it leaves; after reply.hijack(), await session.save() and send what fastify.sessions.cookieOf(session) gives'
  )
}
