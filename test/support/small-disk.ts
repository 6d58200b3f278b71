import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { spawn, type Test, test } from 'tap'

const MIB = 1024 * 1024

/** Mounting takes a user namespace of our own, in which a test file is root and runs once more. */
const NAMESPACE = ['unshare', '--user', '--map-root-user', '--mount']

function run(command: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command}: ${error?.message ?? stderr}`)
}

/** Whether a command, given as words, ends well. */
function succeeds([command = '', ...args]: string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}

function canMount(under: string[]): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'sled-session-mount-'))
  const mount = ['mount', '-t', 'tmpfs', 'tmpfs', folder]
  const mounted = succeeds([...under, ...mount])
  // What was mounted in a namespace went with it.
  if (mounted && under.length === 0) succeeds(['umount', '-l', folder])
  rmdirSync(folder)
  return mounted
}

/**
 * In place of tap's `test` in a file whose tests mount small disks. It runs the file anew in a
 * namespace where this process may not mount, and skips the tests where nobody may.
 *
 * @param file its `import.meta.url`
 */
export function testOnSmallDisk(
  file: string
): (name: string, run: (t: Test) => Promise<void>) => void {
  const isRoot = canMount([])
  const runsInNamespace = !isRoot && canMount(NAMESPACE)
  if (runsInNamespace) {
    const [command = '', ...args] = NAMESPACE
    const self = [...process.execArgv, fileURLToPath(file)]
    spawn(command, [...args, process.execPath, ...self], 'as root of a user namespace')
  }
  return (name, run) => {
    if (!runsInNamespace) test(name, { skip: !isRoot && 'no right to mount a small disk' }, run)
  }
}

/** A disk of 8 MiB of its own for one test. */
export async function smallDisk(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sled session disk '))
  run('mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder)
  t.teardown(async () => {
    run('umount', '-l', folder)
    await rm(folder, { recursive: true })
  })
  return folder
}

/** Takes all that is left of a disk; resolves to how to give it back. */
export async function fillDisk(folder: string): Promise<() => Promise<void>> {
  const path = join(folder, 'ballast')
  const file: FileHandle = await open(path, 'w')
  for (let size = MIB; size >= 1; ) {
    const { bytesWritten } = await file
      .write(Buffer.alloc(size, 1))
      .catch(() => ({ bytesWritten: 0 }))
    if (bytesWritten < size) size = Math.floor(size / 2)
  }
  await file.close()
  return () => rm(path)
}

/** From here on nobody can write to it, as after a fault of the device. */
export function makeReadOnly(folder: string): void {
  run('mount', '-o', 'remount,ro', folder)
}
