import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * The processes that have a database open, this one too if it has; empty if nobody has, or if it
 * cannot be told. Each locks a part of lock.mdb, and Linux lists who has locked which file.
 */
export async function findOpeners(path: string): Promise<number[]> {
  try {
    const [{ ino }, locks] = await Promise.all([
      stat(join(path, 'lock.mdb')),
      readFile('/proc/locks', 'utf8')
    ])
    return openersIn(locks, ino)
  } catch {
    return []
  }
}

/** `1: POSIX  ADVISORY  READ 4711 fd:01:4242 0 0` is a line of it. */
export function openersIn(locks: string, inode: number): number[] {
  const pids = new Set<number>()
  for (const line of locks.split('\n')) {
    const [, kind, , , pid, file] = line.split(/\s+/)
    if (kind !== 'POSIX' || Number(file?.split(':')[2]) !== inode) continue
    // A process of another container has no number here: the kernel writes 0 or -1.
    if (Number(pid) > 0) pids.add(Number(pid))
  }
  return [...pids].sort((a, b) => a - b)
}
