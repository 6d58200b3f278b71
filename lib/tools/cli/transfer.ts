import { open, unlink } from 'node:fs/promises'
import { addAbortSignal, type Readable } from 'node:stream'
import type { Command } from 'commander'
import { exportSessions } from '../../transfer/export.js'
import { importSessions } from '../../transfer/import.js'
import {
  type CommonOptions,
  type Context,
  createCommand,
  withProgress,
  withReader,
  withWriter
} from './command.js'
import { CommandError, ExitCode } from './exit-code.js'
import { count, describeUnreadable } from './output.js'
import { RESUMES, start } from './start.js'

interface ExportOptions extends CommonOptions {
  output?: string
}

interface ImportCommandOptions extends CommonOptions {
  maxRecordSize?: number
}

/** Adds `export` and `import`. */
export function addTransferCommands(program: Command): void {
  program.addCommand(
    createCommand('export', 'All sessions with their data as NDJSON, one a line.', [
      'export ./storage --output sessions.ndjson',
      'export ./storage | gzip > sessions.ndjson.gz'
    ])
      .argument('<database>', 'folder of the database')
      .option('--output <file>', 'a new file, for its owner alone; default is the standard output')
      .action((path: string, options: ExportOptions) =>
        start(options, (c) => exportTo(path, options.output, c))
      )
  )
  program.addCommand(
    createCommand('import', 'Stores the sessions of an export; run it again if it stopped.', [
      'import ./storage sessions.ndjson',
      'gunzip < sessions.ndjson.gz | sled-session import ./storage'
    ])
      .argument('<database>', 'folder of the database; made if it does not exist')
      .argument('[file]', 'an export; default is the standard input')
      .option(
        '--max-record-size <bytes>',
        'the most that one session may hold, as the plugin has it; default 65536',
        Number
      )
      .action((path: string, file: string | undefined, options: ImportCommandOptions) =>
        start(options, (c) => importFrom(path, file, options, c), RESUMES)
      )
  )
}

async function exportTo(
  path: string,
  file: string | undefined,
  context: Context
): Promise<ExitCode> {
  const { output, signal } = context
  if (file === undefined) {
    const { unreadable } = await exportPieces(path, context, (piece) => output.write(piece))
    if (unreadable > 0) output.note(describeUnreadable(unreadable))
    return unreadable === 0 ? ExitCode.Done : ExitCode.ProblemsFound
  }
  const target = await open(file, 'wx', 0o600)
  try {
    const { sessions, unreadable } = await exportPieces(path, context, async (piece) => {
      await target.appendFile(piece)
    })
    signal.throwIfAborted()
    await target.sync()
    await output.result({ sessions, unreadable, file }, () =>
      [
        `${count(sessions)} sessions exported`,
        ...(unreadable > 0 ? [describeUnreadable(unreadable)] : [])
      ].join('\n')
    )
    return unreadable === 0 ? ExitCode.Done : ExitCode.ProblemsFound
  } catch (error) {
    await unlink(file)
    throw error
  } finally {
    await target.close()
  }
}

/** Resolves to how many sessions there were, and how many could not be read. */
async function exportPieces(
  path: string,
  context: Context,
  write: (piece: string) => Promise<void>
): Promise<{ sessions: number; unreadable: number }> {
  const { signal } = context
  let sessions = 0
  let unreadable = 0
  const onUnreadable = (): void => {
    unreadable++
  }
  await withReader(path, context, (store) =>
    withProgress('export', async (update) => {
      const onProgress: typeof update = (progress) => {
        sessions = progress.done
        update(progress)
      }
      const options = { signal, onProgress, onUnreadable }
      for await (const piece of exportSessions(store, options)) await write(piece)
    })
  )
  return { sessions, unreadable }
}

async function importFrom(
  path: string,
  file: string | undefined,
  { maxRecordSize = 65_536 }: ImportCommandOptions,
  context: Context
): Promise<ExitCode> {
  const { output, signal } = context
  // Opened first: a file that does not exist must not leave an empty database.
  const source: Readable = file === undefined ? process.stdin : await openFile(file)
  addAbortSignal(signal, source)
  const work = withWriter(
    path,
    context,
    (store) =>
      withProgress('import', (onProgress) =>
        importSessions(store, source, { signal, onProgress, maxRecordSize })
      ),
    { create: true }
  )
  const { imported, expired } = await work.finally(() => source.destroy())
  await output.result(
    { imported, expired },
    () => `${count(imported)} sessions imported, ${count(expired)} had expired`
  )
  return ExitCode.Done
}

async function openFile(path: string): Promise<Readable> {
  const file = await open(path)
  if ((await file.stat()).isDirectory()) {
    await file.close()
    throw new CommandError(ExitCode.Failed, `"${path}" is a folder, not an export.`)
  }
  return file.createReadStream()
}
