import { join } from 'node:path'
import { findLockHolders } from '../../lock-holders.js'

/** The process that holds a database, or `null` if nobody does or it cannot be told. */
export async function findHolder(path: string): Promise<number | null> {
  const [holder = null] = await findLockHolders(join(path, 'LOCK'))
  return holder
}

/** For an error message. */
export async function describeHolder(path: string): Promise<string> {
  const pid = await findHolder(path)
  return pid === null ? 'another process' : `another process (pid ${pid})`
}
