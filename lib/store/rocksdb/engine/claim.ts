import { readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseLockedError } from '../../../errors.js'
import { identify } from '../../folder.js'

/** A folder that is in use; to be given up once. */
export type GiveUp = () => void

/**
 * Claims the folder of a database for one opener in this process. RocksDB tells openers apart by
 * the path, and the kernel's lock does not hold within a process: through a symbolic link or
 * another mount both would get in, and each would overwrite what the other has acknowledged.
 *
 * @param opener the same one may claim it again, as for another column family
 * @throws {DatabaseLockedError} before anything is written
 */
export async function claimFolder(path: string, opener: object): Promise<GiveUp> {
  const identity = await identify(path)
  const held = claims.get(identity)
  if (held !== undefined && held.opener !== opener) throw heldHere(path)
  const claim = held ?? { opener, times: 0 }
  claim.times++
  claims.set(identity, claim)
  return () => {
    claim.times--
    if (claim.times === 0) claims.delete(identity)
  }
}

/**
 * As RocksDB keeps its files open, this finds openers that make no claim as well: the application,
 * and other threads. Only Linux tells.
 *
 * @throws {DatabaseLockedError}
 */
export async function refuseIfOpenHere(path: string): Promise<void> {
  const lock = await identify(join(path, 'LOCK')).catch(() => null)
  const files = '/proc/self/fd'
  const open = lock === null ? [] : await readdir(files).catch(() => [])
  for (const file of open) {
    const target = await readlink(join(files, file)).catch(() => '')
    if (!target.endsWith('/LOCK')) continue
    if ((await identify(join(files, file)).catch(() => null)) === lock) throw heldHere(path)
  }
}

export function heldHere(path: string, options?: { cause: unknown }): Error {
  return new DatabaseLockedError(
    path,
    'another opener in this process',
    'register the plugin once, give each registration a path of its own, or open the database yourself and hand it to each as "db" with a columnFamily of its own.',
    options
  )
}

interface Claim {
  readonly opener: object
  times: number
}

const claims = new Map<string, Claim>()
