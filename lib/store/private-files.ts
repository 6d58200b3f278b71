import { chmod, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { clearInterval, setInterval } from '../timers.js'
import type { StoreLogger } from './session-store.js'

/** How soon a new file in a folder that others may enter is closed to them, in ms. */
const LOOK_EVERY = 1000

/** Tells the log of a folder that others may look into. */
export async function warnIfExposed(
  folder: string,
  what: 'database' | 'backup',
  log: StoreLogger
): Promise<void> {
  const mode = await exposedMode(folder)
  if (mode === null) return
  log.warn(
    { folder, mode },
    `other users of this machine may look into the folder of the ${what}, which holds the data of all sessions: "chmod 700" keeps them out`
  )
}

/** The mode of a folder that others may look into, or `null`. Windows has no such modes. */
export async function exposedMode(path: string): Promise<string | null> {
  if (process.platform === 'win32') return null
  const mode = (await stat(path)).mode & 0o777
  return (mode & 0o077) === 0 ? null : mode.toString(8).padStart(4, '0')
}

/**
 * Keeps the files of a database for their owner alone. RocksDB makes them as the umask says, and
 * the umask is the whole process's, the application's uploads included; so their modes are changed
 * once they are there. In a folder that nobody else may enter that is a second lock.
 *
 * @returns how to stop, which changes those that were made last
 */
export async function keepFilesPrivate(path: string): Promise<() => Promise<void>> {
  if (process.platform === 'win32') return async () => {}
  // Taken before the files are looked at, so that the next look finds what comes meanwhile.
  let seen = (await stat(path)).mtimeMs
  await restrictFiles(path)
  if ((await exposedMode(path)) === null) return () => restrictFiles(path)
  // A timer and not the kernel's events, which tell of each write as well.
  const look = async (): Promise<void> => {
    const { mtimeMs } = await stat(path)
    if (mtimeMs === seen) return
    seen = mtimeMs
    await restrictFiles(path)
  }
  const timer = setInterval(() => look().catch(() => {}), LOOK_EVERY)
  timer.unref()
  return () => {
    clearInterval(timer)
    return restrictFiles(path)
  }
}

/** Closes the files that are in a folder at this moment to others. */
export async function restrictFiles(path: string): Promise<void> {
  const names = await readdir(path).catch(() => [])
  await Promise.all(
    names.map(async (name) => {
      const file = join(path, name)
      try {
        const info = await stat(file)
        if (info.isFile() && (info.mode & 0o077) !== 0) await chmod(file, 0o600)
      } catch {
        // RocksDB has deleted it meanwhile, or it is another user's, who keeps it as he likes.
      }
    })
  )
}
