import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * The process that holds a database, or `null` if nobody does or it cannot be told. RocksDB locks
 * the file LOCK, and Linux lists who has locked which file; other systems do not.
 */
export async function findHolder(path: string): Promise<number | null> {
  try {
    const [{ ino }, locks] = await Promise.all([
      stat(join(path, 'LOCK')),
      readFile('/proc/locks', 'utf8')
    ])
    return holderIn(locks, ino)
  } catch {
    return null
  }
}

/**
 * `1: POSIX  ADVISORY  WRITE 4711 fd:01:4242 0 EOF` is a line of it. Inode numbers repeat between
 * devices, and what stat says of a device need not be what the kernel writes there (overlayfs,
 * btrfs), so the inode must do.
 */
export function holderIn(locks: string, inode: number): number | null {
  for (const line of locks.split('\n')) {
    const [, kind, , mode, pid, file] = line.split(/\s+/)
    if (kind !== 'POSIX' || mode !== 'WRITE' || Number(file?.split(':')[2]) !== inode) continue
    // A process of another container has no number here: the kernel writes 0 or -1.
    if (Number(pid) > 0) return Number(pid)
  }
  return null
}

/** For an error message. */
export async function describeHolder(path: string): Promise<string> {
  const pid = await findHolder(path)
  return pid === null ? 'another process' : `another process (pid ${pid})`
}
