import { join } from 'node:path'
import { Command, Option } from 'commander'
import { GuardedStore } from '../../store/guarded-store.js'
import { holdsDatabase as holdsLmdb } from '../../store/lmdb/engine/database.js'
import { LmdbStore } from '../../store/lmdb/lmdb-store.js'
import { findLockHolders } from '../../store/lock-holders.js'
import { openSessionStore } from '../../store/open-store.js'
import { holdsDatabase as holdsRocksDB } from '../../store/rocksdb/engine/database.js'
import type { SessionStore, StoreLogger } from '../../store/session-store.js'
import { now } from '../../timers.js'
import { CommandError, ExitCode } from './exit-code.js'
import type { Output } from './output.js'
import { ProgressBar } from './progress.js'

/** What each command is given beside its own arguments and options. */
export interface Context {
  readonly output: Output
  /** Aborted when the user or the system wants the command to end. */
  readonly signal: AbortSignal
  readonly columnFamily: string
  /** The kind of database to make, where the command makes one; `undefined`: the default. */
  readonly kind: StoreKind | undefined
}

export type StoreKind = 'rocksdb' | 'lmdb'

export interface CommonOptions {
  json?: boolean
  columnFamily: string
  store?: StoreKind
}

/** A command with the options that all of them have. */
export function createCommand(name: string, description: string, examples: string[]): Command {
  const shown = examples
    .map((example) => (example.includes('sled-session ') ? example : `sled-session ${example}`))
    .map((example) => `  $ ${example}`)
    .join('\n')
  return new Command(name)
    .description(description)
    .option('--json', 'write JSON, for scripts')
    .addOption(
      new Option('--column-family <name>', 'where the sessions are kept').default('session')
    )
    .addOption(
      new Option('--store <kind>', 'what the database is, or is to be').choices(['rocksdb', 'lmdb'])
    )
    .addHelpText('after', `\nExamples:\n${shown}`)
}

/** Sessions as they are at this moment, whether a server holds the database or not. */
export async function withReader<T>(
  path: string,
  context: Context,
  work: (store: SessionStore) => Promise<T>
): Promise<T> {
  await kindAt(path, context)
  const { columnFamily, output } = context
  const store = await openSessionStore(path, { columnFamily, readOnly: true, log: logTo(output) })
  return work(store).finally(() => store.close())
}

/** Sessions to change. Only a command that fills a database may make one. */
export async function withWriter<T>(
  path: string,
  context: Context,
  work: (store: SessionStore) => Promise<T>,
  { create = false, onProblem = () => {} }: { create?: boolean; onProblem?: () => void } = {}
): Promise<T> {
  const found = await kindAt(path, context)
  if (!create && found === null) {
    throw new CommandError(ExitCode.Failed, `There is no database in "${path}".`)
  }
  const store = await openWriter(path, found ?? context.kind, context, onProblem)
  return work(store).finally(() => store.close())
}

async function openWriter(
  path: string,
  kind: StoreKind | undefined,
  { columnFamily, output }: Context,
  onProblem: () => void
): Promise<SessionStore> {
  const log = logTo(output, onProblem)
  if (kind !== 'lmdb') return openSessionStore(path, { columnFamily, log })
  const store = GuardedStore.of(new LmdbStore({ path, durability: 'power' }))
  await store.open({ now, log })
  return store
}

/**
 * What kind of database a folder holds, or `null` for none.
 *
 * @throws {CommandError} if the user has named another
 */
export async function kindAt(path: string, { kind }: Context): Promise<StoreKind | null> {
  const found = (await holdsLmdb(path)) ? 'lmdb' : (await holdsRocksDB(path)) ? 'rocksdb' : null
  if (found !== null && kind !== undefined && kind !== found) {
    const problem = `The database in "${path}" is one of ${NAMES[found]}, not of ${NAMES[kind]}.`
    throw new CommandError(ExitCode.WrongUsage, problem)
  }
  return found
}

const NAMES: Record<StoreKind, string> = { rocksdb: 'RocksDB', lmdb: 'LMDB' }

/** The processes that have a database open; empty if nobody has or it cannot be told. */
export function findOpeners(path: string, kind: StoreKind): Promise<number[]> {
  return findLockHolders(join(path, LOCK_FILES[kind]))
}

const LOCK_FILES: Record<StoreKind, string> = { rocksdb: 'LOCK', lmdb: 'lock.mdb' }

export function describeOpeners(openers: readonly number[]): string {
  return openers.length === 0 ? 'no process that can be told' : `process ${openers.join(', ')}`
}

export async function withProgress<T>(
  name: string,
  work: (update: ProgressBar['update']) => Promise<T>
): Promise<T> {
  const bar = new ProgressBar(name)
  return work(bar.update).finally(() => bar.clear())
}

export function logTo(output: Output, onProblem: () => void = () => {}): StoreLogger {
  const say = (fields: object, message: string): void => {
    const { session } = fields as { session?: unknown }
    output.note(typeof session === 'string' ? `${message} (${session})` : message)
  }
  const error = (fields: object, message: string): void => {
    onProblem()
    say(fields, message)
  }
  return { debug() {}, info() {}, warn: say, error }
}

/** Stops waiting for work that takes no signal. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason)
    signal.addEventListener('abort', stop)
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
