import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { temporaryFolder } from './app.js'

/** A copy of a database of a released format, as opening one changes its files. */
export async function formatFixture(t: Test, format: number): Promise<string> {
  const path = join(await temporaryFolder(t), 'storage')
  await cp(fileURLToPath(new URL(`../fixtures/format-${format}`, import.meta.url)), path, {
    recursive: true
  })
  return path
}
