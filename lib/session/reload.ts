import { deadline, isSameExpiry } from '../record/expiry.js'
import { notesOf } from '../record/notes.js'
import type { SessionRecord } from '../record/record.js'
import { noteActivity } from './activity.js'
import type { Attributes, Draft, Moved } from './draft.js'
import type { Registration } from './registration.js'
import { save } from './saving.js'
import type { UnitOfWork } from './unit-of-work.js'

/** Drops this request's unsaved changes and reads what is stored. */
export async function reload(work: UnitOfWork): Promise<void> {
  const { record, registration } = work
  if (record === null) return
  if (work.stored && work.isUnshared) return loadAnew(work, record)
  const stored = work.stored ? await registration.store.read(record.handle) : null
  if (stored === null) {
    work.detachLost()
    return
  }
  if (work.draft !== null) restore(record, work.draft, stored)
  if (work.draft?.moved) restoreTimes(record, work.draft.moved, registration)
  work.draft = null
  const notes = notesOf(record)
  if (isSame(record, stored)) notes.storedRevision = notes.revision
}

/** What parallel requests have set meanwhile is theirs to save. */
function restore(record: SessionRecord, draft: Draft, stored: SessionRecord): void {
  for (const [key, text] of draft.changes ?? []) {
    if (record.data.get(key) === text) record.apply(key, stored.data.get(key))
  }
  const attributes = draft.attributes ?? {}
  for (const name of Object.keys(attributes) as (keyof Attributes)[]) {
    if (record[name] === attributes[name]) Object.assign(record, { [name]: stored[name] })
  }
}

/** Each visit and each change moves the deadline by what the record then has of expiry and login. */
function restoreTimes(record: SessionRecord, moved: Moved, registration: Registration): void {
  const { from, to } = moved
  const isLast = record.lastSeenAt === to.lastSeenAt && record.expiresAt === to.expiresAt
  // With `rolling`, the visit itself counts.
  if (isLast && !registration.rolling) {
    Object.assign(record, from)
    return
  }
  const expiry = record.expiry ?? registration.expiry
  record.expiresAt = deadline(expiry, record.createdAt, record.lastSeenAt, registration)
}

function isSame(record: SessionRecord, other: SessionRecord): boolean {
  const { data, size, principal, metadata, createdAt, expiry } = record
  if (size !== other.size || createdAt !== other.createdAt) return false
  if (principal !== other.principal || metadata !== other.metadata) return false
  if (!isSameExpiry(expiry, other.expiry)) return false
  for (const [key, text] of data) if (other.data.get(key) !== text) return false
  return true
}

async function loadAnew(work: UnitOfWork, record: SessionRecord): Promise<void> {
  const { registration } = work
  const loaded = await registration.store.loadByHandle(record.handle)
  if (loaded === null) {
    work.detachLost()
    return
  }
  work.record = loaded
  work.draft = null
  if (registration.rolling) noteActivity(loaded, registration)
}

/** Takes back what was set since the last save, before a response that shall not store it. */
export async function takeBack(work: UnitOfWork): Promise<void> {
  if (!work.mayBeModified) return
  const { record } = work
  try {
    await reload(work)
  } catch (error) {
    // Shared with others, it still has what none of them is to store: it is read anew.
    if (record !== null && work.stored && !work.isUnshared) record.failure ??= error as Error
    throw error
  } finally {
    work.draft = null
  }
}

/** Sees what others have stored meanwhile. Where all share one live record, it does already. */
export async function catchUp(work: UnitOfWork): Promise<void> {
  if (work.record === null || !work.stored || !work.isUnshared) return
  await save(work)
  await reload(work)
}
