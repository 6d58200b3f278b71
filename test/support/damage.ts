import { open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Where a session's hash stands in a table file: with its record, or in one of the indexes. */
export type Place = 'record' | 'expiry' | 'principal'

const PLACES: Place[] = ['record', 'expiry', 'principal']

/**
 * Flips one bit of the block that has a session's key. Keys of one block share what they begin
 * with, so it is looked for by its middle; it is random, and so not compressed.
 */
export async function flipBlockOf(folder: string, handle: string, place: Place): Promise<void> {
  const middle = Buffer.from(handle, 'base64url').subarray(8, 24)
  for (const name of (await readdir(folder)).filter((file) => file.endsWith('.sst'))) {
    const bytes = await readFile(join(folder, name))
    let at = -1
    for (let index = 0; index <= PLACES.indexOf(place); index++) {
      at = bytes.indexOf(middle, at + 1)
      if (at === -1) break
    }
    if (at !== -1) return flipByte(join(folder, name), at)
  }
  throw new Error('No table file has that session.')
}

/** In place, as a disk would: whoever has the file open meets it too. */
export async function flipByte(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at)
    byte[0] = (byte[0] ?? 0) ^ 1
    await file.write(byte, 0, 1, at)
  } finally {
    await file.close()
  }
}
