import { constants } from 'node:fs'
import { access, readdir, stat, statfs } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { Command } from 'commander'
import { findForbiddenFile } from '../../store/folder.js'
import { loadBinding as loadLmdb } from '../../store/lmdb/engine/binding.js'
import { findOpeners } from '../../store/lmdb/engine/openers.js'
import { loadBinding } from '../../store/rocksdb/engine/binding.js'
import { findHolder } from '../../store/rocksdb/engine/lock.js'
import {
  type CommonOptions,
  type Context,
  createCommand,
  kindAt,
  type Start,
  type StoreKind
} from './command.js'
import { CommandError, ExitCode, messageOf } from './exit-code.js'
import { bytes, count } from './output.js'
import { verifyFolder } from './verify.js'

type State = 'ok' | 'warning' | 'problem'

/** What one look has shown. */
interface Finding {
  readonly check: string
  readonly state: State
  readonly detail: string
}

/** Adds `doctor`. */
export function addDoctorCommand(program: Command, start: Start): void {
  program.addCommand(
    createCommand('doctor', 'Looks at all that a server needs to use the database.', [
      'doctor ./storage'
    ])
      .argument('<database>', 'folder of the database, which need not exist yet')
      .action((path: string, options: CommonOptions) => start(options, (c) => doctor(path, c)))
  )
}

async function doctor(path: string, context: Context): Promise<ExitCode> {
  const folder = resolve(path)
  const found = await kindAt(folder, context).catch((error: unknown) => {
    if (error instanceof CommandError) throw error
    return null
  })
  const kind = found ?? context.kind ?? 'rocksdb'
  const findings = [
    await checkNode(),
    await checkBinding(kind),
    ...(await checkFolder(folder, found))
  ]
  if (found !== null) {
    const files = await checkFiles(folder)
    const holders = kind === 'lmdb' ? checkOpeners(folder) : checkHolder(folder)
    findings.push(files, await holders, await checkContents(folder, context))
  }
  await context.output.result({ findings }, () =>
    findings.map(({ check, state, detail }) => `${MARKS[state]} ${check}: ${detail}`).join('\n')
  )
  const well = findings.every(({ state }) => state !== 'problem')
  return well ? ExitCode.Done : ExitCode.ProblemsFound
}

const MARKS: Record<State, string> = { ok: 'ok     ', warning: 'warning', problem: 'PROBLEM' }

const OLDEST_NODE = [20, 19] as const

async function checkNode(): Promise<Finding> {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const fits = major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])
  const detail = `${process.version} on ${process.platform} ${process.arch}`
  if (fits) return { check: 'Node', state: 'ok', detail }
  return {
    check: 'Node',
    state: 'problem',
    detail: `${detail}: install ${OLDEST_NODE.join('.')} or later`
  }
}

/** That the native module loads says that libatomic is there, too. */
async function checkBinding(kind: StoreKind): Promise<Finding> {
  const check = kind === 'lmdb' ? 'lmdb' : 'rocksdb-native'
  try {
    await (kind === 'lmdb' ? loadLmdb() : loadBinding())
    return {
      check,
      state: 'ok',
      detail: kind === 'lmdb' ? 'loads' : 'loads, and so does libatomic'
    }
  } catch (error) {
    return { check, state: 'problem', detail: messageOf(error) }
  }
}

async function checkFolder(folder: string, found: StoreKind | null): Promise<Finding[]> {
  const check = 'folder'
  const existing = await nearestFolder(folder)
  try {
    const info = await stat(existing)
    if (!info.isDirectory()) {
      return [{ check, state: 'problem', detail: `${existing} is a file` }]
    }
    await access(existing, constants.R_OK | constants.W_OK | constants.X_OK)
    const mode = (info.mode & 0o777).toString(8)
    const findings: Finding[] = [await checkSpace(existing)]
    if (existing !== folder) {
      const detail = `${folder} does not exist; the server will make it`
      return [{ check, state: 'ok', detail }, ...findings]
    }
    if (found === null) {
      const empty = (await readdir(folder)).length === 0
      const detail = empty
        ? 'empty; the server will make a database in it'
        : 'holds other files and no database: is it the right one?'
      return [{ check, state: empty ? 'ok' : 'warning', detail }, ...findings]
    }
    const open = (info.mode & 0o077) !== 0 && process.platform !== 'win32'
    const detail = open
      ? `mode ${mode}: other users may look into it; "chmod 700" keeps them out`
      : `readable and writable, mode ${mode}`
    return [{ check, state: open ? 'warning' : 'ok', detail }, ...findings]
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const detail = `${existing} may not be read and written by this user (${code})`
    return [{ check, state: 'problem', detail }]
  }
}

async function nearestFolder(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    const found = await stat(at).then(
      () => true,
      ({ code }: NodeJS.ErrnoException) => code !== 'ENOENT' && code !== 'ENOTDIR'
    )
    if (found || at === dirname(at)) return at
  }
}

const LOW_SPACE = 1024 ** 3
const NO_SPACE = 64 * 1024 ** 2

async function checkSpace(folder: string): Promise<Finding> {
  const { bavail, bsize } = await statfs(folder)
  const free = bavail * bsize
  const state = free < NO_SPACE ? 'problem' : free < LOW_SPACE ? 'warning' : 'ok'
  return { check: 'disk', state, detail: `${bytes(free)} free` }
}

async function checkFiles(folder: string): Promise<Finding> {
  const check = 'files'
  const forbidden = await findForbiddenFile(folder)
  if (forbidden === null) return { check, state: 'ok', detail: 'this user may open all of them' }
  const detail = `${forbidden.file} may not be opened by this user (${forbidden.code}): "chown" gives it to them`
  return { check, state: 'problem', detail }
}

async function checkHolder(folder: string): Promise<Finding> {
  const holder = await findHolder(folder)
  const detail =
    holder === null ? 'nobody that can be told has it open' : `process ${holder} has it open`
  return { check: 'lock', state: 'ok', detail }
}

async function checkOpeners(folder: string): Promise<Finding> {
  const openers = await findOpeners(folder)
  const detail =
    openers.length === 0
      ? 'nobody that can be told has it open'
      : `open in process ${openers.join(', ')}`
  return { check: 'processes', state: 'ok', detail }
}

async function checkContents(folder: string, context: Context): Promise<Finding> {
  const check = 'contents'
  try {
    const { format, records, quarantined, problems } = await verifyFolder(folder, context)
    const detail = `format ${format}, ${count(records)} sessions, ${count(quarantined)} in quarantine`
    if (problems === 0) return { check, state: 'ok', detail }
    const found = `${detail}; ${count(problems)} problems, which "sled-session verify" lists`
    return { check, state: 'problem', detail: found }
  } catch (error) {
    if (context.signal.aborted) throw error
    return { check, state: 'problem', detail: messageOf(error) }
  }
}
