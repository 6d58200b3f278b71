import { type Expiry, isSameExpiry } from '../record/expiry.js'
import { entrySize, type SessionRecord } from '../record/record.js'
import { tooLarge } from '../record/value.js'
import type { SessionChanges } from './session-store.js'

/** For so long, in ms, it is known what a session that was renewed goes on as. */
export const SUCCESSOR_TIME = 3_600_000
export const NO_CHANGES: SessionChanges = new Map()

/** What is stored of a session, as far as a request knows that has its record. */
export interface Known {
  readonly createdAt: number
  readonly expiry: Expiry | null
  readonly principal: string | null
  readonly metadata: string | null
  readonly data: Map<string, string>
}

/** The same where others share it, so that nobody may change it. */
export type SharedKnown = Omit<Known, 'data'> & { readonly data: ReadonlyMap<string, string> }

/** What a request knows of a record once that is stored as it is. */
export function knownOf(record: SessionRecord): Known {
  const { createdAt, expiry, principal, metadata, data } = record
  return { createdAt, expiry, principal, metadata, data: new Map(data) }
}

/** Brings what one request has changed into what is stored, which another may have changed. */
export function mergeChanges(
  stored: SessionRecord,
  record: SessionRecord,
  known: SharedKnown,
  changes: SessionChanges
): void {
  const moved = record.principal !== known.principal
  if (moved && stored.principal !== null && stored.principal !== record.principal) {
    // What other processes have set in the meantime belongs to the user who leaves.
    for (const key of stored.data.keys()) if (!record.data.has(key)) stored.apply(key, undefined)
  }
  if (moved) stored.principal = record.principal
  if (record.createdAt !== known.createdAt) stored.createdAt = record.createdAt
  if (record.metadata !== known.metadata) stored.metadata = record.metadata
  mergeExpiry(stored, record, known)
  for (const [key, text] of changes) stored.apply(key, text)
}

/** Fills a blank record that is to take the place of a stored one. */
export function mergeInto(
  target: SessionRecord,
  stored: SessionRecord,
  fresh: SessionRecord,
  known: SharedKnown,
  keep: boolean | readonly string[]
): void {
  if (keep === false) {
    target.inherit(fresh, null)
    return
  }
  const moved = fresh.principal !== known.principal
  const another = stored.principal !== known.principal && stored.principal !== fresh.principal
  // Another process has given the session, and its data with it, to another user.
  const theirs = another && moved && stored.principal !== null
  const keepAll = keep === true && !theirs
  target.principal = keepAll && !moved ? stored.principal : fresh.principal
  target.metadata = keepAll && fresh.metadata === known.metadata ? stored.metadata : fresh.metadata
  target.expiry = stored.expiry
  target.expiresAt = stored.expiresAt
  mergeExpiry(target, fresh, known)
  for (const [key, text] of stored.data) {
    if (keepAll || (keep !== true && keep.includes(key))) target.apply(key, text)
  }
  for (const [key, text] of difference(known.data, fresh.data)) target.apply(key, text)
}

/** The changes that turn one session's data into another's. */
export function difference(
  from: ReadonlyMap<string, string>,
  to: ReadonlyMap<string, string>
): Map<string, string | undefined> {
  const changes = new Map<string, string | undefined>()
  for (const key of from.keys()) if (!to.has(key)) changes.set(key, undefined)
  for (const [key, text] of to) if (from.get(key) !== text) changes.set(key, text)
  return changes
}

/**
 * A request that changed the rules decides; otherwise those that are stored do, and a deadline
 * under the same rules never moves back.
 */
function mergeExpiry(stored: SessionRecord, record: SessionRecord, known: SharedKnown): void {
  stored.lastSeenAt = Math.max(stored.lastSeenAt, record.lastSeenAt)
  if (!isSameExpiry(record.expiry, known.expiry)) {
    stored.expiry = record.expiry
    stored.expiresAt = record.expiresAt
  } else if (isSameExpiry(stored.expiry, known.expiry)) {
    stored.expiresAt = Math.max(stored.expiresAt, record.expiresAt)
  }
}

/**
 * To be asked before changes are made of what is stored, which others may have filled meanwhile.
 *
 * @throws {SessionTooLargeError} if they would take a session over its limit
 */
export function requireRoom(stored: SessionRecord, changes: SessionChanges, limit: number): void {
  let { size } = stored
  for (const [key, text] of changes) {
    const previous = stored.data.get(key)
    if (previous !== undefined) size -= entrySize(key, previous)
    if (text !== undefined) size += entrySize(key, text)
  }
  checkGrowth(size, stored.size, changes, limit)
}

/** @throws {SessionTooLargeError} if a session is over its limit, and larger than before */
export function checkGrowth(
  size: number,
  before: number,
  changes: SessionChanges,
  limit: number
): void {
  if (size <= limit || size <= before) return
  const [key = ''] = [...changes].find(([, text]) => text !== undefined) ?? []
  throw tooLarge(key, limit)
}
