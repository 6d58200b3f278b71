import { createHash } from 'node:crypto'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { openSessionStore } from '../lib/store/open-store.js'
import { PROFILE } from './session-data.js'

const BATCH = 2000
const DAY = 86_400_000

/** The id of a session that {@link fillDatabase} stores: as an id looks, but anybody can tell it. */
export function idOf(number: number): string {
  return createHash('sha256').update(`benchmark ${number}`).digest('base64url')
}

/**
 * Makes a database with so many sessions of about 500 bytes.
 *
 * @param expired how many of them are past their time, so that the reaper has something to do
 * @returns its folder
 */
export async function fillDatabase(sessions: number, expired: number): Promise<string> {
  const { openSessionStore: open } = (await import('../dist/store/open-store.js' as string)) as {
    openSessionStore: typeof openSessionStore
  }
  const { handleOf } = (await import('../dist/record/handle.js' as string)) as {
    handleOf(id: string): string
  }
  const folder = await mkdtemp(join(tmpdir(), 'sled-bench-'))
  const store = await open(folder)
  const now = Date.now()
  const every = sessions / expired
  for (let at = 0; at < sessions; at += BATCH) {
    const saves: Promise<void>[] = []
    for (let number = at; number < Math.min(at + BATCH, sessions); number++) {
      const past = Math.floor((number + 1) / every) > Math.floor(number / every)
      const expiresAt = past ? now + 1 : now + 14 * DAY
      const record = store.create({
        handle: handleOf(idOf(number)),
        createdAt: now,
        lastSeenAt: now,
        expiresAt
      })
      record.apply('profile', JSON.stringify(PROFILE))
      saves.push(store.save(record, null))
    }
    await Promise.all(saves)
  }
  await store.close()
  return folder
}
