import { readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'

const KEPT = 3

/**
 * Removes RocksDB's logs of earlier openings but the last few. It keeps a thousand, and the
 * binding has no option for it. They tell what RocksDB did, and no data is in them; one that
 * cannot be removed is left to the next opening.
 */
export async function removeOldLogs(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => [])
  // Behind the dot is the time at which it ended, in µs.
  const old = names.filter((name) => /^LOG\.old\.\d+$/.test(name)).sort()
  await Promise.all(old.slice(0, -KEPT).map((name) => unlink(join(folder, name)).catch(() => {})))
}
