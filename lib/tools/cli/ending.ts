import type { Command } from 'commander'
import { StoreDamagedError } from '../../errors.js'
import { isHandle } from '../../record/handle.js'
import { isListed, recordsToEnd } from '../../session/records-of.js'
import type { SessionStore } from '../../store/session-store.js'
import {
  abortable,
  type CommonOptions,
  type Context,
  createCommand,
  withWriter
} from './command.js'
import { CommandError, ExitCode } from './exit-code.js'
import { findSession } from './find.js'
import { count } from './output.js'
import { RESUMES, start } from './start.js'

interface RevokeOptions extends CommonOptions {
  principal?: string
}

/** Adds `revoke` and `reap`. */
export function addEndingCommands(program: Command): void {
  program.addCommand(
    createCommand('revoke', 'Ends a session, or all sessions of a user.', [
      'revoke ./storage oX3bYw1N',
      'revoke ./storage --principal ann'
    ])
      .argument('<database>', 'folder of the database')
      .argument('[handle]', 'handle of the session, or how it begins')
      .option(
        '--principal <name>',
        "all of this user's; with a handle, that one only if it is theirs"
      )
      .action((path: string, handle: string | undefined, options: RevokeOptions) =>
        start(options, (c) => revoke(path, handle, options, c))
      )
  )
  program.addCommand(
    createCommand('reap', 'Deletes the sessions that are past their time, as a server does.', [
      'reap ./storage'
    ])
      .argument('<database>', 'folder of the database')
      .action((path: string, options: CommonOptions) =>
        start(options, (c) => reap(path, c), RESUMES)
      )
  )
}

async function revoke(
  path: string,
  handle: string | undefined,
  { principal }: RevokeOptions,
  context: Context
): Promise<ExitCode> {
  if (handle === undefined && principal === undefined) {
    throw new CommandError(ExitCode.WrongUsage, 'Say which: give a handle, or --principal.')
  }
  const revoked = await withWriter(path, context, (store) =>
    handle === undefined
      ? revokeAll(store, principal as string)
      : revokeOne(store, handle, principal)
  )
  await context.output.result({ revoked }, () => `${count(revoked)} revoked`)
  return ExitCode.Done
}

async function revokeOne(
  store: SessionStore,
  handle: string,
  principal: string | undefined
): Promise<number> {
  if (isHandle(handle) && (await isUnreadable(store, handle))) {
    const theirs = principal === undefined || (await isListed(store, principal, handle))
    if (!theirs) throw new CommandError(ExitCode.NotFound, 'That user has no such session.')
    await store.discard?.(handle, principal ?? null)
    return 1
  }
  const found = await findSession(store, handle)
  if (principal !== undefined && found.principal !== principal) {
    throw new CommandError(ExitCode.NotFound, 'That user has no such session.')
  }
  return destroy(store, found.handle)
}

async function revokeAll(store: SessionStore, principal: string): Promise<number> {
  let revoked = 0
  const unreadable: string[] = []
  const note = (handle: string): void => {
    unreadable.push(handle)
  }
  for await (const records of recordsToEnd(store, principal, note)) {
    await Promise.all(records.map((record) => store.destroy(record)))
    await Promise.all(unreadable.map((handle) => store.discard?.(handle, principal)))
    revoked += records.length + unreadable.splice(0).length
  }
  return revoked
}

async function isUnreadable(store: SessionStore, handle: string): Promise<boolean> {
  try {
    await store.loadByHandle(handle)
    return false
  } catch (error) {
    if (error instanceof StoreDamagedError) return true
    throw error
  }
}

async function destroy(store: SessionStore, handle: string): Promise<number> {
  const record = await store.loadByHandle(handle)
  if (record === null) return 0
  await store.destroy(record)
  return 1
}

async function reap(path: string, context: Context): Promise<ExitCode> {
  const { output } = context
  let exitCode: ExitCode = ExitCode.Done
  // The reaper logs what it cannot read, and goes on.
  const onProblem = (): void => {
    exitCode = ExitCode.ProblemsFound
  }
  const deleted = await withWriter(
    path,
    context,
    (store) => abortable(store.deleteExpired(), context.signal),
    { onProblem }
  )
  await output.result({ deleted }, () => `${count(deleted)} expired sessions deleted`)
  return exitCode
}
