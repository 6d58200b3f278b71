import type { Command } from 'commander'
import { connectRedisStore } from '../../store/redis/connect.js'
import type { SessionStore } from '../../store/session-store.js'
import { type CopyResult, copySessions } from '../../transfer/copy.js'
import {
  type CommonOptions,
  type Context,
  createCommand,
  logTo,
  type Start,
  withProgress,
  withReader,
  withWriter
} from './command.js'
import { ExitCode } from './exit-code.js'
import { count } from './output.js'

interface CopyOptions extends CommonOptions {
  from: string
  to: string
}

/** Adds `copy`. */
export function addCopyCommand(program: Command, start: Start): void {
  program.addCommand(
    createCommand('copy', 'Copies all sessions to another store, then compares them one by one.', [
      'copy --from ./storage --to redis://127.0.0.1:6379',
      'copy --from redis://127.0.0.1:6379 --to ./storage'
    ])
      .requiredOption('--from <place>', 'folder of a database, or URL of a Redis or Valkey')
      .requiredOption('--to <place>', 'the same; sessions that it has already stay')
      .action((options: CopyOptions) => start(options, (c) => copy(options, c)))
  )
}

async function copy({ from, to }: CopyOptions, context: Context): Promise<ExitCode> {
  const { output, signal } = context
  const result = await withSource(from, context, (source) =>
    withTarget(to, context, (target) =>
      withProgress('copy', (onProgress) => copySessions(source, target, { signal, onProgress }))
    )
  )
  await output.result(result, describe)
  return result.different === 0 ? ExitCode.Done : ExitCode.ProblemsFound
}

function describe({ sessions, copied, others, different }: CopyResult): string {
  const same = sessions - copied
  const lines = [`${count(sessions)} sessions: ${count(copied)} copied, ${count(same)} were there`]
  if (others > 0) lines.push(`${count(others)} others are in the target, and stay`)
  lines.push(
    different === 0
      ? 'compared one by one: all are the same'
      : `${count(different)} are not the same: the target is in use, or lost them; run it again`
  )
  return lines.join('\n')
}

type Work<T> = (store: SessionStore) => Promise<T>

function withSource<T>(place: string, context: Context, work: Work<T>): Promise<T> {
  return isUrl(place) ? withRedis(place, context, work) : withReader(place, context, work)
}

function withTarget<T>(place: string, context: Context, work: Work<T>): Promise<T> {
  if (isUrl(place)) return withRedis(place, context, work)
  return withWriter(place, context, work, { create: true })
}

function isUrl(place: string): boolean {
  return /^[a-z]+:\/\//i.test(place)
}

async function withRedis<T>(url: string, { output }: Context, work: Work<T>): Promise<T> {
  const { store, disconnect } = await connectRedisStore(url)
  try {
    await store.open({ now: Date.now, log: logTo(output) })
    return await work(store).finally(() => store.close())
  } finally {
    await disconnect()
  }
}
