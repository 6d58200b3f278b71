import type { Command } from 'commander'
import { BackupUnusableError } from '../../errors.js'
import { openDatabase } from '../../store/lmdb/engine/database.js'
import { verify as verifyDatabase } from '../../store/lmdb/verify.js'
import { openReadOnly } from '../../store/rocksdb/engine/database.js'
import { refuseHalfMade } from '../../store/rocksdb/upkeep/backup.js'
import { verify } from '../../store/rocksdb/upkeep/verify.js'
import type { Verification } from '../../store/verification.js'
import {
  abortable,
  type CommonOptions,
  type Context,
  createCommand,
  kindAt,
  withProgress
} from './command.js'
import { CommandError, ExitCode } from './exit-code.js'
import { count, fields } from './output.js'
import { start } from './start.js'

/** Adds `verify`. */
export function addVerifyCommand(program: Command): void {
  program.addCommand(
    createCommand('verify', 'Reads everything and checks it; changes nothing.', [
      'verify ./storage',
      'verify /backups/sessions --json'
    ])
      .argument('<database>', 'folder of the database or of a backup')
      .action((path: string, options: CommonOptions) => start(options, (c) => run(path, c)))
  )
}

async function run(path: string, context: Context): Promise<ExitCode> {
  const found = await verifyFolder(path, context)
  await context.output.result(found, describe)
  return found.problems === 0 ? ExitCode.Done : ExitCode.ProblemsFound
}

export async function verifyFolder(path: string, context: Context): Promise<Verification> {
  return withProgress('verify', async (update) => {
    const told = ({ records, parts, expiryEntries, principalEntries }: Verification): void =>
      update({ done: records + parts + expiryEntries + principalEntries, total: null })
    const isLmdb = (await kindAt(path, context)) === 'lmdb'
    return isLmdb ? verifyLmdb(path, context, told) : verifyRocksDB(path, context, told)
  })
}

type Told = (found: Verification) => void

async function verifyRocksDB(
  path: string,
  { columnFamily, signal }: Context,
  told: Told
): Promise<Verification> {
  const connection = await openReadOnly(path, columnFamily)
  try {
    // An unfinished backup would only be listed gap by gap.
    await refuseHalfMade(connection).catch((error: unknown) => {
      if (error instanceof BackupUnusableError) {
        throw new CommandError(ExitCode.ProblemsFound, error.message)
      }
      // The walk over everything reports whatever else is wrong.
    })
    return await abortable(verify(connection.db, told, connection.damage), signal)
  } finally {
    await connection.close()
  }
}

async function verifyLmdb(path: string, { signal }: Context, told: Told): Promise<Verification> {
  const database = await openDatabase(path, { readOnly: true })
  try {
    return await abortable(verifyDatabase(database, told), signal)
  } finally {
    await database.close()
  }
}

function describe(found: Verification): string {
  const { records, expiryEntries, principalEntries, quarantined, problems, kinds, listed } = found
  const lines = [
    `${count(records)} sessions, ${count(expiryEntries)} entries of the expiry index, ${count(principalEntries)} of users`,
    `${count(quarantined)} in quarantine`,
    problems === 0 ? 'no problems' : `${count(problems)} problems:`
  ]
  for (const { kind, session, detail } of listed) {
    lines.push(`  ${kind}${session === null ? '' : ` ${session}`}: ${detail}`)
  }
  if (problems > listed.length) lines.push(`  and ${count(problems - listed.length)} more`)
  const table = Object.entries(kinds).map(([kind, number]) => [kind, count(number)] as const)
  return [...lines, '', fields([['PROBLEMS', count(problems)], ...table])].join('\n')
}
