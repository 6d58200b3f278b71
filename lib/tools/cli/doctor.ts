import { constants } from 'node:fs'
import { access, readdir, stat, statfs } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { Command } from 'commander'
import { loadBinding as loadLmdb } from '../../store/lmdb/engine/binding.js'
import { exposedMode } from '../../store/private-files.js'
import { loadBinding as loadRocksDB } from '../../store/rocksdb/engine/binding.js'
import {
  type CommonOptions,
  type Context,
  createCommand,
  describeOpeners,
  findOpeners,
  kindAt,
  type StoreKind
} from './command.js'
import { CommandError, ExitCode, messageOf } from './exit-code.js'
import { bytes, count } from './output.js'
import { start } from './start.js'
import { verifyFolder } from './verify.js'

type State = 'ok' | 'warning' | 'problem'

interface Finding {
  readonly check: string
  readonly state: State
  readonly detail: string
}

/** Adds `doctor`. */
export function addDoctorCommand(program: Command): void {
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
  const findings = [checkNode(), ...(await checkFolder(folder, found))]
  if (found === null) findings.push(await checkBinding(context.kind ?? 'rocksdb'))
  else findings.push(await checkOpeners(folder, found), await checkContents(folder, context))
  await context.output.result({ findings }, () =>
    findings.map(({ check, state, detail }) => `${MARKS[state]} ${check}: ${detail}`).join('\n')
  )
  const well = findings.every(({ state }) => state !== 'problem')
  return well ? ExitCode.Done : ExitCode.ProblemsFound
}

const MARKS: Record<State, string> = { ok: 'ok     ', warning: 'warning', problem: 'PROBLEM' }

/** For bug reports. npm warns of a version that is too old. */
function checkNode(): Finding {
  const detail = `${process.version} on ${process.platform} ${process.arch}`
  return { check: 'Node', state: 'ok', detail }
}

/** Only where there is no database: opening one loads it as well. */
async function checkBinding(kind: StoreKind): Promise<Finding> {
  const check = kind === 'lmdb' ? 'lmdb' : 'rocksdb-native'
  try {
    await (kind === 'lmdb' ? loadLmdb() : loadRocksDB())
    return { check, state: 'ok', detail: 'loads' }
  } catch (error) {
    return { check, state: 'problem', detail: messageOf(error) }
  }
}

/** Rights and space: the contents are only read, so they do not show whether a server may write. */
async function checkFolder(folder: string, found: StoreKind | null): Promise<Finding[]> {
  const check = 'folder'
  const existing = await nearestFolder(folder)
  try {
    if (!(await stat(existing)).isDirectory()) {
      return [{ check, state: 'problem', detail: `${existing} is a file` }]
    }
    await access(existing, constants.R_OK | constants.W_OK | constants.X_OK)
    const finding = existing === folder ? await describeFolder(folder, found) : willBeMade(folder)
    return [{ check, ...finding }, await checkSpace(existing)]
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const detail = `${existing} may not be read and written by this user (${code})`
    return [{ check, state: 'problem', detail }]
  }
}

type Judgement = Omit<Finding, 'check'>

function willBeMade(folder: string): Judgement {
  return { state: 'ok', detail: `${folder} does not exist; the server will make it` }
}

async function describeFolder(folder: string, found: StoreKind | null): Promise<Judgement> {
  if (found === null) {
    return (await readdir(folder)).length === 0
      ? { state: 'ok', detail: 'empty; the server will make a database in it' }
      : { state: 'warning', detail: 'holds other files and no database: is it the right one?' }
  }
  const mode = await exposedMode(folder)
  if (mode === null) return { state: 'ok', detail: 'readable and writable, for its owner alone' }
  const detail = `mode ${mode}: other users may look into it; "chmod 700" keeps them out`
  return { state: 'warning', detail }
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

async function checkOpeners(folder: string, kind: StoreKind): Promise<Finding> {
  const detail = `open in ${describeOpeners(await findOpeners(folder, kind))}`
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
