import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { syncFolder } from '../../folder.js'
import type { RocksDatabase } from './binding.js'

const WAL_NAME = /^(\d+)\.log$/

/**
 * Brings the write-ahead log to the disk, which the binding has no option for.
 *
 * RocksDB appends a batch to the log before it acknowledges it, and numbers its log files in
 * ascending order. So what was acknowledged by now is in the file that was current at the last
 * sync, in the one that is current now, or in one between: all of them are synced, and the folder
 * too when there is a new name in it.
 *
 * A log that is gone is no loss: RocksDB deletes one only when all that it held is in table files
 * that it has synced itself.
 */
export class WalSync {
  readonly #database: { readonly db: RocksDatabase; readonly path: string }
  /** The current log as of the last sync, kept open: it may be renamed or deleted meanwhile. */
  #current: { readonly number: number; readonly file: FileHandle } | null = null
  #failed = false

  constructor(database: { readonly db: RocksDatabase; readonly path: string }) {
    this.#database = database
  }

  /** Resolves when all that was acknowledged before the call is on the disk. One call at a time. */
  async sync(): Promise<void> {
    if (this.#failed) await this.#startAnew()
    try {
      const known = this.#current
      // Side by side: the log seldom changes, and one wait is half of two.
      const [{ number }] = await Promise.all([
        this.#database.db.currentWalFile(),
        known?.file.datasync()
      ])
      if (number !== known?.number) await this.#advance(known?.number ?? 0, number)
    } catch (error) {
      this.#failed = true
      throw error
    }
  }

  async close(): Promise<void> {
    const current = this.#current
    this.#current = null
    await current?.file.close()
  }

  /**
   * After a failed fdatasync the kernel may take the lost pages for clean, and the next one may
   * succeed without them. What RocksDB has in memory is whole, so it goes to a table file instead.
   */
  async #startAnew(): Promise<void> {
    await this.close()
    await this.#database.db.flush()
    this.#failed = false
  }

  /**
   * Syncs the logs from one number up to another, both included: into the first, something may have
   * been written since its sync began.
   */
  async #advance(from: number, upTo: number): Promise<void> {
    await this.close()
    const { path } = this.#database
    for (const name of await readdir(path)) {
      const number = Number(WAL_NAME.exec(name)?.[1] ?? Number.NaN)
      if (!(number >= from && number <= upTo)) continue
      const file = await openIfThere(join(path, name))
      if (file === null) continue
      await file.datasync().finally(() => {
        if (number !== upTo) return file.close()
        this.#current = { number, file }
        return undefined
      })
    }
    await syncFolder(path)
  }
}

async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    // Windows flushes only what is open for writing.
    return await open(path, 'r+')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}
