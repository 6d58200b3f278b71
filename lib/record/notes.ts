import { SESSION_NOTES, type SessionRecord } from './record.js'

/** How far the store and the browser are behind a record, for all requests that share it. */
export class RecordNotes {
  /** Counts what sessions change of the record, and how much of that is known to be stored. */
  revision = 0
  storedRevision = 0
  /** As last stored. */
  storedSeenAt: number
  storedExpiresAt: number
  /** As the visitor's cookie was last told. */
  toldExpiresAt: number
  /** How many writes of it the store has not answered yet. */
  writes = 0

  constructor({ lastSeenAt, expiresAt }: SessionRecord) {
    this.storedSeenAt = lastSeenAt
    this.storedExpiresAt = expiresAt
    this.toldExpiresAt = expiresAt
  }
}

/** Made when they are first asked for, which is before a session moves a time of the record. */
export function notesOf(record: SessionRecord): RecordNotes {
  record[SESSION_NOTES] ??= new RecordNotes(record)
  return record[SESSION_NOTES]
}

/** Whether all that sessions have changed of a record is stored, but for the times of its last use. */
export function isSaved(record: SessionRecord): boolean {
  const notes = record[SESSION_NOTES]
  return notes === null || notes.revision === notes.storedRevision
}
