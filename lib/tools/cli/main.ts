#!/usr/bin/env node
import { createRequire } from 'node:module'
import { Command, CommanderError } from 'commander'
import { printableLines } from '../../record/printable.js'
import { addBackupCommands } from './backup.js'
import { addCopyCommand } from './copy.js'
import { addDoctorCommand } from './doctor.js'
import { addEndingCommands } from './ending.js'
import { ExitCode } from './exit-code.js'
import { shieldHandles } from './find.js'
import { addLookingCommands } from './looking.js'
import { addTransferCommands } from './transfer.js'
import { addVerifyCommand } from './verify.js'

function createProgram(): Command {
  const { version } = createRequire(import.meta.url)('../../../package.json') as { version: string }
  const program = new Command('sled-session')
    .description('Looks after the sessions that fastify-sled-session keeps in a RocksDB or LMDB.')
    .version(version)
    // The value of an option of a command may look like an option: a user may be called `--version`.
    .enablePositionalOptions()
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
  addLookingCommands(program)
  addEndingCommands(program)
  addTransferCommands(program)
  addBackupCommands(program)
  addVerifyCommand(program)
  addCopyCommand(program)
  addDoctorCommand(program)
  for (const command of [program, ...program.commands]) {
    command.exitOverride()
    command.configureOutput({ outputError: (message, write) => write(printableLines(message)) })
  }
  return program
}

try {
  await createProgram().parseAsync(shieldHandles(process.argv))
} catch (error) {
  if (!(error instanceof CommanderError)) throw error
  // Commander has said what is wrong, or shown the help that was asked for.
  process.exitCode = error.exitCode === 0 ? ExitCode.Done : ExitCode.WrongUsage
}
