import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from 'tap'
import { openSessionStore, type SessionRecord } from '../../lib/index.js'
import { temporaryFolder } from './app.js'
import { contents, someRecord } from './sessions.js'
import { root } from './snippets.js'

/** How a command ended. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Starts the built `sled-session` as a process of its own. */
export function startCommand(args: string[], cwd = root): ChildProcess {
  return spawn(process.execPath, [join(root, 'dist', 'tools', 'cli', 'main.js'), ...args], {
    cwd,
    // The command runs as it is shipped; coverage looks at the source.
    env: { ...process.env, _TAPJS_PROCESSINFO_COVERAGE_: '0' }
  })
}

/** Resolves when it has ended. */
export async function endOf(child: ChildProcess): Promise<Ended> {
  const texts = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text
    })
  }
  const [code] = await once(child, 'close')
  return { code, ...texts }
}

/** Runs `sled-session` to its end, with this as its standard input. */
export function runCommand(args: string[], { input = '', cwd = root } = {}): Promise<Ended> {
  const child = startCommand(args, cwd)
  child.stdin?.on('error', () => {})
  child.stdin?.end(input)
  return endOf(child)
}

/** Runs a command that must succeed in silence, and gives its JSON. */
export async function json(t: Test, command: string, ...args: string[]) {
  const { code, stdout, stderr } = await runCommand([command, ...args, '--json'])
  t.equal(stderr, '')
  t.equal(code, 0, command)
  return JSON.parse(stdout)
}

/** A database under an odd name, and the folder that it is in. */
export async function createDatabase(t: Test, count = 40) {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'stor age ü')
  const now = Date.now()
  const records = Array.from({ length: count }, (_, at) => someRecord(at, now))
  await fill(path, records)
  return { folder, path, records }
}

export async function fill(path: string, records: SessionRecord[]): Promise<void> {
  const store = await openSessionStore(path)
  await store.putRecords(records)
  await store.close()
}

/** All that a database holds. */
export async function contentsOf(path: string): Promise<object[]> {
  const store = await openSessionStore(path, { readOnly: true })
  return contents(store).finally(() => store.close())
}
