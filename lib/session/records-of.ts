import { StoreDamagedError } from '../errors.js'
import type { SessionRecord } from '../record/record.js'
import type { SessionStore } from '../store/session-store.js'
import { nextTurn } from '../timers.js'

/** Sessions loaded at one time at most, and the bytes of data at which it is enough of them. */
const MOST = 128
const MOST_BYTES = 1024 * 1024
/** Of the first batch: how large this user's sessions are shows only then. */
const FIRST = 16

/**
 * The records of a user's sessions, a batch at a time: however many there are, few are in memory at
 * one time, and others get their turn in between. What cannot be read is told to `onUnreadable`
 * before the batch that it would be in, which may be empty.
 *
 * @param listed gets the handles of all that are listed, whatever has become of them
 */
export async function* recordsOf(
  store: SessionStore,
  principal: string,
  onUnreadable: (handle: string) => void = () => {},
  listed: Set<string> = new Set()
): AsyncGenerator<SessionRecord[]> {
  let size = FIRST
  for await (const handles of store.handlesOf(principal)) {
    for (const handle of handles) listed.add(handle)
    for (let at = 0; at < handles.length; ) {
      const part = handles.slice(at, at + size)
      at += part.length
      const records = await loadTheirs(store, principal, part, onUnreadable)
      yield records
      size = nextSize(records)
      await nextTurn()
    }
  }
}

/**
 * As `recordsOf`, for whoever ends them all: again until nothing new is listed. A session that is
 * renewed between its listing and its reading has ended by then, and goes on under another handle.
 */
export async function* recordsToEnd(
  store: SessionStore,
  principal: string,
  onUnreadable: (handle: string) => void
): AsyncGenerator<SessionRecord[]> {
  const listed = new Set<string>()
  for (let before = -1; before < listed.size; ) {
    before = listed.size
    yield* recordsOf(store, principal, onUnreadable, listed)
  }
}

/** Whether a session is listed as a principal's, whatever can be read of it. */
export async function isListed(
  store: SessionStore,
  principal: string,
  handle: string
): Promise<boolean> {
  for await (const handles of store.handlesOf(principal)) {
    if (handles.includes(handle)) return true
  }
  return false
}

async function loadTheirs(
  store: SessionStore,
  principal: string,
  handles: readonly string[],
  onUnreadable: (handle: string) => void
): Promise<SessionRecord[]> {
  const loading = handles.map(async (handle) => {
    try {
      return await store.loadByHandle(handle)
    } catch (error) {
      if (!(error instanceof StoreDamagedError)) throw error
      onUnreadable(handle)
      return null
    }
  })
  const loaded = await Promise.all(loading)
  // The record decides: it may have changed hands since the index was read.
  return loaded.filter((record) => record?.principal === principal) as SessionRecord[]
}

function nextSize(records: readonly SessionRecord[]): number {
  if (records.length === 0) return MOST
  const bytes = records.reduce((sum, { size }) => sum + size, 0)
  return Math.max(1, Math.min(MOST, Math.floor((MOST_BYTES * records.length) / (bytes + 1))))
}
