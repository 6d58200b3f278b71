import { existsSync, rmSync, statSync } from 'node:fs'
import { open, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { elapsed, now, pause } from '../../../timers.js'

/** The file that is there while a process opens the database of its folder. */
export function markIn(folder: string): string {
  return join(folder, 'opening')
}

/** A commit that is under way when the mark appears is through by then. */
const STANDSTILL_MS = 50
/** A process that waited for longer, as on a busy machine, says once more that it opens. */
const LATE_MS = 1000
/** One that is older was left by a process that was killed. */
const LEFT_MS = 3000
const LOOK_AGAIN_MS = 5

/**
 * Opens a database while nobody commits to it. LMDB reads the number of the newest transaction from
 * the file, maps the file, and then tells all processes that number: what was committed in between
 * is taken back, and the next writer writes over it (ITS#9496 of OpenLDAP, which the LMDB within
 * `lmdb` 3.5 still has). So whoever opens sets a mark and waits a moment; writers wait
 * while it is there, and look once more at what was under way before they acknowledge it.
 */
export async function openMarked<T>(folder: string, openNow: () => T): Promise<T> {
  const file = markIn(folder)
  let isSet = await setMark(file)
  try {
    for (let last = elapsed(); isSet; last = elapsed()) {
      await pause(STANDSTILL_MS)
      if (elapsed() - last < LATE_MS) break
      isSet = await renewMark(file)
    }
    return openNow()
  } finally {
    // At once: where LMDB has refused the first read, nothing given to other threads ends any more.
    if (isSet) rmSync(file, { force: true })
  }
}

/** Another process may have taken it for one that was left. */
async function renewMark(file: string): Promise<boolean> {
  try {
    await utimes(file, new Date(), new Date())
    return true
  } catch {
    return setMark(file)
  }
}

/** One process at a time. */
async function setMark(file: string): Promise<boolean> {
  for (;;) {
    try {
      await (await open(file, 'wx', 0o600)).close()
      return true
    } catch (error) {
      // Where no file can be made nobody commits either: a folder to read only, a full disk.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return false
    }
    const made = await stat(file).catch(() => null)
    if (made !== null && isLeft(made.mtimeMs)) await rm(file, { force: true })
    else await pause(LOOK_AGAIN_MS)
  }
}

/**
 * Whether a process is opening the database with this mark. Asked before and after each group of
 * writes, it is one look at a folder that the kernel has in memory: a few µs, where asking without
 * blocking costs a way to another thread and back, ten times that.
 */
export function isBeingOpened(mark: string): boolean {
  if (!existsSync(mark)) return false
  const made = statSync(mark, { throwIfNoEntry: false })
  return made !== undefined && !isLeft(made.mtimeMs)
}

/** Resolves when no process is opening the database with this mark. */
export async function untilOpened(mark: string): Promise<void> {
  while (isBeingOpened(mark)) await pause(LOOK_AGAIN_MS)
}

function isLeft(madeAt: number): boolean {
  return Math.abs(now() - madeAt) > LEFT_MS
}
