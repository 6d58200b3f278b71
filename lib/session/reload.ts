import { notesOf } from '../record/notes.js'
import type { SessionRecord } from '../record/record.js'
import { noteActivity } from './activity.js'
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
  // What parallel requests have changed meanwhile is theirs to save.
  for (const key of work.draft?.changes?.keys() ?? []) record.apply(key, stored.data.get(key))
  record.expiry = stored.expiry
  record.principal = stored.principal
  record.metadata = stored.metadata
  record.createdAt = stored.createdAt
  work.draft = null
  const notes = notesOf(record)
  if (hasSameData(record, stored)) notes.storedRevision = notes.revision
}

function hasSameData({ data, size }: SessionRecord, other: SessionRecord): boolean {
  if (size !== other.size) return false
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
  try {
    await reload(work)
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
