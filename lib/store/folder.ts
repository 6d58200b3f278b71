import { constants } from 'node:fs'
import { access, mkdir, open, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { PathUnusableError } from '../errors.js'

/**
 * Makes a folder if it does not exist, and sees that this process may write there.
 *
 * @throws {PathUnusableError} with what to do about it
 */
export async function prepareFolder(path: string): Promise<void> {
  try {
    await makeFolder(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const [problem, remedy] =
      code === 'ENOTDIR'
        ? ['it, or a part of it, is a file', 'Name a folder.']
        : [
            `it cannot be created (${code})`,
            'Create it, and give this process the right to write there.'
          ]
    throw new PathUnusableError(path, problem, remedy, { cause: error })
  }
  try {
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const { mode, uid } = await stat(path)
    throw new PathUnusableError(
      path,
      `it is not writable (${code}, owner ${uid}, mode ${(mode & 0o777).toString(8)})`,
      'Give this process the right to read and write there.',
      { cause: error }
    )
  }
}

/**
 * Makes the names in a folder durable: a new file or folder is not found after a power loss
 * before the folder that names it is on the disk.
 */
export async function syncFolder(path: string): Promise<void> {
  // Windows keeps names in a journal of its own, and lets nobody flush a folder.
  if (process.platform === 'win32') return
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Device and inode: the same by whichever path it is reached. */
export async function identify(path: string): Promise<string> {
  const { dev, ino } = await stat(path, { bigint: true })
  return `${dev}:${ino}`
}

/**
 * One level at a time: Node's own recursive mkdir never returns where the kernel says ENOENT for
 * ever, as under /proc.
 */
async function makeFolder(path: string): Promise<void> {
  if (await isFolder(path)) return
  await makeFolder(dirname(path))
  await mkdir(path, { mode: 0o700 }).catch(async (error: unknown) => {
    // Somebody else may have made it just now.
    if (!(await isFolder(path))) throw error
  })
  await syncFolder(dirname(path))
}

/** @throws ENOTDIR if it, or a part of it, is a file */
async function isFolder(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).isDirectory()) return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
  throw Object.assign(new Error(`${path} is not a folder`), { code: 'ENOTDIR' })
}
