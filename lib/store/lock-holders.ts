import { readFile, stat } from 'node:fs/promises'

/**
 * The processes that have locked a file, and so have the database open whose lock file it is; empty
 * if nobody has or it cannot be told. Linux lists who has locked which file; other systems do not.
 */
export async function findLockHolders(file: string): Promise<number[]> {
  try {
    const [{ ino }, locks] = await Promise.all([stat(file), readFile('/proc/locks', 'utf8')])
    return holdersIn(locks, ino)
  } catch {
    return []
  }
}

/**
 * `1: POSIX  ADVISORY  WRITE 4711 fd:01:4242 0 EOF` is a line of it. Inode numbers repeat between
 * devices, and what stat says of a device need not be what the kernel writes there (overlayfs,
 * btrfs), so the inode must do.
 */
export function holdersIn(locks: string, inode: number): number[] {
  const pids = new Set<number>()
  for (const line of locks.split('\n')) {
    const [, kind, , , pid, file] = line.split(/\s+/)
    if (kind !== 'POSIX' || Number(file?.split(':')[2]) !== inode) continue
    // A process of another container has no number here: the kernel writes 0 or -1.
    if (Number(pid) > 0) pids.add(Number(pid))
  }
  return [...pids].sort((a, b) => a - b)
}
