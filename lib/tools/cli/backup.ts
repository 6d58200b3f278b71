import type { Command } from 'commander'
import { NotSupportedError } from '../../errors.js'
import type { BackupResult } from '../../store/long-operation.js'
import { restoreBackup } from '../../store/restore-backup.js'
import {
  type CommonOptions,
  type Context,
  createCommand,
  withProgress,
  withReader
} from './command.js'
import { ExitCode } from './exit-code.js'
import { count } from './output.js'
import { RESUMES, start } from './start.js'

/** Adds `backup` and `restore`. */
export function addBackupCommands(program: Command): void {
  program.addCommand(
    createCommand('backup', 'Backs up a database, in use or not, to a folder.', [
      'backup ./storage /backups/sessions'
    ])
      .argument('<database>', 'folder of the database')
      .argument(
        '<folder>',
        'a new one, or that of an earlier backup: only changes are written then'
      )
      .action((path: string, folder: string, options: CommonOptions) =>
        start(options, (c) => backUp(path, folder, c), RESUMES)
      )
  )
  program.addCommand(
    createCommand('restore', 'Makes a database from a backup.', [
      'restore /backups/sessions ./storage'
    ])
      .argument('<backup>', 'folder of the backup')
      .argument('<database>', 'a new or empty folder')
      .action((backup: string, path: string, options: CommonOptions) =>
        start(options, (c) => restore(backup, path, c), RESUMES)
      )
  )
}

async function backUp(path: string, folder: string, context: Context): Promise<ExitCode> {
  const { signal } = context
  const result = await withReader(path, context, (store) =>
    withProgress('backup', async (onProgress) => {
      if (store.backup === undefined) throw new NotSupportedError('back itself up', '')
      return store.backup(folder, { signal, onProgress })
    })
  )
  return report(result, context)
}

async function restore(backup: string, path: string, context: Context): Promise<ExitCode> {
  const { signal, columnFamily } = context
  const result = await withProgress('restore', (onProgress) =>
    restoreBackup(backup, path, { columnFamily, signal, onProgress })
  )
  return report(result, context)
}

async function report(result: BackupResult, { output }: Context): Promise<ExitCode> {
  await output.result(
    result,
    ({ entries, written, deleted }) =>
      `${count(entries)} entries: ${count(written)} written, ${count(deleted)} deleted, the others were there`
  )
  return ExitCode.Done
}
