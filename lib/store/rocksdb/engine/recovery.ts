import { open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pause as wait } from '../../../timers.js'
import type { StoreLogger } from '../../session-store.js'
import { type DamageLog, isDamage } from './damage.js'
import type { OpenColumnFamily } from './database.js'

const FIRST_DELAY = 250
const LONGEST_DELAY = 2000
const MIB = 1024 * 1024

/** A database that can be closed and opened again. */
export type ReopenableDatabase = Pick<OpenColumnFamily, 'path'> &
  Required<Pick<OpenColumnFamily, 'reopen'>>

/**
 * Brings a database back after a failed write. RocksDB takes no more writes after an error such as
 * a full disk, also when the reason has gone, until it is opened anew. Reads go on meanwhile: the
 * database is closed only when the disk takes writes again, enough of them for opening it.
 *
 * What is in memory stays right: all that was acknowledged is in the write-ahead log.
 *
 * A damaged file is another matter: RocksDB refuses writes once it had to rewrite that file, and
 * will as often as it tries. Opened anew, it takes writes until then, which is worth one attempt.
 */
export class Recovery {
  readonly #database: ReopenableDatabase
  readonly #log: StoreLogger
  readonly #damage: DamageLog
  readonly #stopped = new AbortController()
  #running: Promise<void> | null = null
  #openedDespiteDamage = false

  constructor(database: ReopenableDatabase, log: StoreLogger, damage: DamageLog) {
    this.#database = database
    this.#log = log
    this.#damage = damage
  }

  /** To be called when a write has failed; does nothing while it is at work already. */
  begin(reason: Error): void {
    if (this.#stopped.signal.aborted || this.#running !== null) return
    if (isDamage(reason) && this.#openedDespiteDamage) {
      this.#damage.noteWrite(reason)
      return
    }
    this.#running = this.#run(reason).finally(() => {
      this.#running = null
    })
  }

  /** Gives up waiting; resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.#running
  }

  async #run(reason: Error): Promise<void> {
    const { path } = this.#database
    if (isDamage(reason)) {
      this.#openedDespiteDamage = true
      this.#damage.noteRewrite(reason)
    } else {
      this.#log.error(
        { err: reason, path },
        'a write failed: the session database is opened anew as soon as its disk takes writes'
      )
    }
    for (let delay = FIRST_DELAY; ; delay = Math.min(2 * delay, LONGEST_DELAY)) {
      await wait(delay, undefined, { ref: false, signal: this.#stopped.signal }).catch(() => {})
      if (this.#stopped.signal.aborted) return
      try {
        await tryToWrite(path)
        await this.#database.reopen()
        const lasting = isDamage(reason) ? '' : ' and takes writes again'
        this.#log.info({ path }, `the session database was opened anew${lasting}`)
        return
      } catch (error) {
        if (isDamage(error)) {
          this.#damage.noteWrite(error)
          return
        }
        this.#log.debug({ err: error, path }, 'the session database cannot be opened anew yet')
      }
    }
  }
}

/**
 * Writes as much as opening the database will, which moves its logs into table files, and leaves
 * nothing behind. Asking for the free space would not see quotas, nor a disk that is read-only.
 */
async function tryToWrite(folder: string): Promise<void> {
  let bytes = MIB + (await logBytes(folder))
  const path = join(folder, 'sled-session.probe')
  const file = await open(path, 'w')
  try {
    const block = Buffer.alloc(MIB)
    for (; bytes > 0; bytes -= MIB) await file.write(block)
    await file.datasync()
  } finally {
    await file.close()
    await rm(path, { force: true })
  }
}

async function logBytes(folder: string): Promise<number> {
  let bytes = 0
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.log')) continue
    // RocksDB may delete one at any time.
    bytes += await stat(join(folder, name)).then(
      ({ size }) => size,
      () => 0
    )
  }
  return bytes
}
