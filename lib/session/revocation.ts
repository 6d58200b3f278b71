import { ExceptUnknownError, StoreDamagedError } from '../errors.js'
import { announce, events } from '../events.js'
import { handleOf, isHandle } from '../record/handle.js'
import type { SessionRecord } from '../record/record.js'
import { isListed, recordsToEnd } from './records-of.js'
import type { Registration } from './registration.js'
import { Session } from './session.js'

/** How a session is named outside its own request. */
export type SessionName = string | Session | null | undefined

/** The record of the session with this handle or id. */
export async function findRecord(
  { store }: Registration,
  handleOrId: unknown
): Promise<SessionRecord | null> {
  if (!isHandle(handleOrId)) return null
  return (await store.loadByHandle(handleOrId)) ?? store.load(handleOrId)
}

/**
 * Ends a session, be it that its record cannot be read.
 *
 * @param owner whose it must be, if anybody's; `null` owns none
 * @returns false if there is no such session
 */
export async function revoke(
  registration: Registration,
  handleOrId: unknown,
  owner: string | null | undefined
): Promise<boolean> {
  if (!isHandle(handleOrId)) return false
  for (const handle of [handleOrId, handleOf(handleOrId)]) {
    const record = await loadOrDamage(registration, handle)
    if (record === null) continue
    if (record === 'damaged') {
      const isTheirs =
        owner === undefined ||
        (owner !== null && (await isListed(registration.store, owner, handle)))
      return isTheirs && discard(registration, handle, owner ?? null)
    }
    if (owner !== undefined && (owner === null || record.principal !== owner)) return false
    await end(registration, record)
    return true
  }
  return false
}

async function loadOrDamage(
  { store }: Registration,
  handle: string
): Promise<SessionRecord | 'damaged' | null> {
  try {
    return await store.loadByHandle(handle)
  } catch (error) {
    if (error instanceof StoreDamagedError) return 'damaged'
    throw error
  }
}

/** Ends all of a user's sessions but one, and resolves to how many they were. */
export async function revokeAll(
  registration: Registration,
  principal: string,
  except: SessionName
): Promise<number> {
  let ended = 0
  const unreadable: string[] = []
  const batches = recordsToEnd(registration.store, principal, (handle) => unreadable.push(handle))
  for await (const records of batches) {
    const kept = await handleNamed(registration, except)
    const outcomes = await Promise.allSettled([
      ...records
        .filter(({ handle }) => handle !== kept)
        .map((record) => endTheirs(registration, principal, record)),
      ...unreadable.splice(0).map((handle) => discard(registration, handle, principal))
    ])
    ended += outcomes.filter((each) => each.status === 'fulfilled' && each.value).length
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }
  return ended
}

/** @throws {ExceptUnknownError} unless it names a session of this user */
export async function checkExcept(
  registration: Registration,
  principal: string,
  except: SessionName
): Promise<void> {
  let owner: string | null = null
  // A login that is not stored yet counts: it is what its visitor goes on with.
  if (except instanceof Session) owner = except.handle === null ? null : except.principal
  else owner = (await findRecord(registration, except))?.principal ?? null
  if (owner !== principal) throw new ExceptUnknownError()
}

async function handleNamed(
  registration: Registration,
  session: SessionName
): Promise<string | null> {
  if (session instanceof Session) return session.handle
  return (await findRecord(registration, session))?.handle ?? null
}

/** Ends a user's session under the id that it has by now; false if that is done already. */
async function endTheirs(
  registration: Registration,
  principal: string,
  record: SessionRecord
): Promise<boolean> {
  const live = record.destroyed ? await registration.store.successorOf(record) : record
  if (live?.principal !== principal) return false
  await end(registration, live)
  return true
}

async function end({ store, sessionName }: Registration, record: SessionRecord): Promise<void> {
  await store.destroy(record)
  announce(events.revoked, sessionName, record.handle)
}

/** Ends a session whose record cannot be read. */
async function discard(
  { store, sessionName }: Registration,
  handle: string,
  principal: string | null
): Promise<true> {
  await store.discard?.(handle, principal)
  announce(events.revoked, sessionName, handle)
  return true
}
