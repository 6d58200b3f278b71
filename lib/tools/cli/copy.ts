import type { Command } from 'commander'
import { connectRedisStore } from '../../store/redis/connect.js'
import type { SessionStore } from '../../store/session-store.js'
import { now } from '../../timers.js'
import { type CopyResult, copySessions } from '../../transfer/copy.js'
import {
  type CommonOptions,
  type Context,
  createCommand,
  logTo,
  withProgress,
  withReader,
  withWriter
} from './command.js'
import { ExitCode } from './exit-code.js'
import { count, describeUnreadable } from './output.js'
import { RESUMES, start } from './start.js'

interface CopyCommandOptions extends CommonOptions {
  from: string
  to: string
  mirror?: boolean
  overwriteNewer?: boolean
}

/** Adds `copy`. */
export function addCopyCommand(program: Command): void {
  program.addCommand(
    createCommand('copy', 'Copies all sessions to another store, then compares them one by one.', [
      'copy --from ./storage --to redis://127.0.0.1:6379',
      'copy --from ./storage --to redis://127.0.0.1:6379 --mirror',
      'copy --from redis://127.0.0.1:6379 --to ./storage --mirror',
      'copy --from ./storage --to ./sessions --store lmdb'
    ])
      .requiredOption('--from <place>', 'folder of a database, or URL of a Redis or Valkey')
      .requiredOption('--to <place>', 'the same; what is newer there stays')
      .option('--mirror', 'delete from the target what the source no longer has')
      .option('--overwrite-newer', 'give up what is newer in the target')
      .action((options: CopyCommandOptions) => start(options, (c) => copy(options, c), RESUMES))
  )
}

async function copy(options: CopyCommandOptions, context: Context): Promise<ExitCode> {
  const { from, to, mirror = false, overwriteNewer = false } = options
  const { output, signal } = context
  // --store is about the target, which may have to be made.
  const result = await withSource(from, { ...context, kind: undefined }, (source) =>
    withTarget(to, context, (target) =>
      withProgress('copy', (onProgress) =>
        copySessions(source, target, { signal, onProgress, mirror, overwriteNewer })
      )
    )
  )
  await output.result(result, (counts) => describe(counts, mirror))
  return isSame(result) ? ExitCode.Done : ExitCode.ProblemsFound
}

function isSame({ others, different, unreadable }: CopyResult): boolean {
  return others === 0 && different === 0 && unreadable === 0
}

function describe(result: CopyResult, mirror: boolean): string {
  const { sessions, copied, deleted, others, different, newer, unreadable } = result
  const lines = [`sessions of the source: ${count(sessions)}, of which copied: ${count(copied)}`]
  if (deleted > 0) lines.push(`deleted, as the source no longer has them: ${count(deleted)}`)
  if (isSame(result)) lines.push('compared one by one: both hold the same sessions')
  else lines.push('compared one by one: the two differ')
  if (others > 0) {
    const advice = mirror
      ? ''
      : '. What has ended in the source is alive there: --mirror deletes it'
    lines.push(`only in the target, and left there: ${count(others)}${advice}`)
  }
  if (different > 0) {
    lines.push(`not the same: ${count(different)}. One of the two is in use, or lost them`)
  }
  if (unreadable > 0) lines.push(describeUnreadable(unreadable))
  if (newer > 0) {
    lines.push(
      `newer in the target, of these: ${count(newer)}. They have come or been used there since it was last a copy; is the direction right? --overwrite-newer gives them up`
    )
  }
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
    await store.open({ now, log: logTo(output) })
    return await work(store).finally(() => store.close())
  } finally {
    await disconnect()
  }
}
