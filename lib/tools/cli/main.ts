#!/usr/bin/env node
import { createRequire } from 'node:module'
import { Command, CommanderError } from 'commander'
import { printableLines } from '../../record/printable.js'
import { addBackupCommands } from './backup.js'
import type { CommonOptions, Resumes, Run } from './command.js'
import { addCopyCommand } from './copy.js'
import { addDoctorCommand } from './doctor.js'
import { addEndingCommands } from './ending.js'
import { CommandError, ExitCode, exitCodeOf, messageOf } from './exit-code.js'
import { joinValues, shieldHandles } from './find.js'
import { addLookingCommands } from './looking.js'
import { Output } from './output.js'
import { endProgress } from './progress.js'
import { addTransferCommands } from './transfer.js'
import { addVerifyCommand } from './verify.js'

const SIGNALS = { SIGINT: ExitCode.Interrupted, SIGTERM: ExitCode.Terminated } as const

async function start(
  { json = false, columnFamily, store: kind }: CommonOptions,
  run: Run,
  resumes?: Resumes
): Promise<void> {
  const output = new Output(json)
  const stopping = new AbortController()
  for (const [signal, exitCode] of Object.entries(SIGNALS)) {
    // Once: the second signal then ends the process at once, by Node's default.
    process.once(signal, () => {
      endProgress()
      const next = resumes === undefined ? '' : ' Run it again to go on.'
      stopping.abort(new CommandError(exitCode, `Stopped.${next}`))
    })
  }
  const { signal } = stopping
  try {
    process.exitCode = await run({ output, signal, columnFamily, kind })
  } catch (error) {
    // An error after the signal is a consequence of stopping.
    const reason = signal.aborted ? signal.reason : error
    process.exitCode = exitCodeOf(reason)
    const { code } = reason as { code?: unknown }
    if (process.exitCode !== ExitCode.BrokenPipe) output.failure(messageOf(reason), code)
  }
}

function createProgram(): Command {
  const { version } = createRequire(import.meta.url)('../../../package.json') as { version: string }
  const program = new Command('sled-session')
    .description('Looks after the sessions that fastify-sled-session keeps in a RocksDB or LMDB.')
    .version(version)
    .showHelpAfterError('(--help tells more)')
    .addHelpText(
      'after',
      `
A <database> is the folder that the plugin, or its LmdbStore, has as "path". On LMDB all commands
work beside the servers. On RocksDB those that only look do; the others need the server to be stopped.

Exit codes:
  0 done   1 failed   2 wrong usage   3 held by another process   4 problems found
  5 no such session   130, 143 stopped by a signal   141 the reader of the output is gone`
    )
  addLookingCommands(program, start)
  addEndingCommands(program, start)
  addTransferCommands(program, start)
  addBackupCommands(program, start)
  addVerifyCommand(program, start)
  addCopyCommand(program, start)
  addDoctorCommand(program, start)
  for (const command of [program, ...program.commands]) {
    command.exitOverride()
    command.configureOutput({ outputError: (text, write) => write(printableLines(text)) })
  }
  return program
}

try {
  await createProgram().parseAsync(shieldHandles(joinValues(process.argv)))
} catch (error) {
  if (!(error instanceof CommanderError)) throw error
  // Commander has said what is wrong, or shown the help that was asked for.
  process.exitCode = error.exitCode === 0 ? ExitCode.Done : ExitCode.WrongUsage
}
