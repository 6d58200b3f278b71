import { execFile } from 'node:child_process'
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Test, test } from 'tap'
import { freePort } from '../../scripts/servers/ports.js'
import { startRedis } from '../../scripts/servers/redis.js'
import { createApp } from '../support/app.js'
import { lacks } from '../support/needs.js'
import {
  listPages,
  readSnippets,
  root,
  type Snippet,
  snippetFolder,
  toModule
} from '../support/snippets.js'

const run = promisify(execFile)

/** The pages show the usual ports; here they are free ones, with a Redis of our own behind one. */
async function withPorts(t: Test, code: string, port: number): Promise<string> {
  const own = code.replaceAll('3000', String(port))
  if (!usesRedis(own)) return own
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  return own.replaceAll('6379', String(redis.port))
}

const usesRedis = (code: string): boolean => code.includes('6379')

/** All modules of a page in one process, one after the other, each in a folder of its own. */
async function runModules(t: Test, snippets: Snippet[]): Promise<void> {
  const folder = await snippetFolder(t)
  const modules: object[] = []
  for (const snippet of snippets) {
    const port = await freePort()
    const own = join(folder, `line-${snippet.line}`)
    await mkdir(own)
    const file = join(own, 'snippet.ts')
    await writeFile(file, await withPorts(t, toModule(snippet), port))
    modules.push({ kind: snippet.kind, port, folder: own, file })
  }
  const runner = join(root, 'test', 'fixtures', 'run-snippets.ts')
  const tsx = ['--import', import.meta.resolve('tsx')]
  await runOrFail(t, process.execPath, [...tsx, runner, JSON.stringify(modules)], folder)
}

/** In a folder with a database in ./storage, and with the package's own commands in the PATH. */
async function runShell(t: Test, { code }: Snippet): Promise<void> {
  const folder = await snippetFolder(t)
  const app = await createApp(t, { path: join(folder, 'storage') })
  app.get('/', async ({ session }) => session.setPrincipal('ann'))
  for (let visitor = 0; visitor < 3; visitor++) await app.inject('/')
  await app.close()
  await linkCommands(folder)
  const script = await withPorts(t, code, await freePort())
  await runOrFail(t, 'bash', ['-euo', 'pipefail', '-c', script], folder)
}

async function linkCommands(folder: string): Promise<void> {
  const { bin = {} } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    bin?: Record<string, string>
  }
  const commands = join(folder, 'node_modules', '.bin')
  await mkdir(commands, { recursive: true })
  for (const [name, path] of Object.entries(bin)) {
    await chmod(join(root, path), 0o755)
    await symlink(join(root, path), join(commands, name))
  }
}

async function runOrFail(t: Test, file: string, args: string[], cwd: string): Promise<void> {
  const PATH = `${join(cwd, 'node_modules', '.bin')}:${process.env.PATH}`
  // The blocks run the built package, as users do; coverage looks at the source.
  const env = { ...process.env, PATH, _TAPJS_PROCESSINFO_COVERAGE_: '0' }
  await run(file, args, { cwd, env, timeout: 120_000 }).then(
    () => t.pass('it runs'),
    (error: { stdout: string; stderr: string }) => t.fail(`${error.stdout}\n${error.stderr}`)
  )
}

const isScript = ({ kind }: Snippet): boolean => kind === 'shell' || kind === 'gate'
const withoutRedis = lacks('redis-server')

test('every code block in the documentation does what it says', async (t) => {
  const gate = await readFile(join(root, '.ci', 'run'), 'utf8')
  t.jobs = 2
  for (const page of await listPages()) {
    const all = await readSnippets(page)
    const snippets = all.filter(({ code }) => withoutRedis === false || !usesRedis(code))
    if (snippets.length < all.length) t.test(`${page}: Redis`, { skip: withoutRedis }, () => {})
    const modules = snippets.filter((snippet) => !isScript(snippet))
    if (modules.length > 0) {
      t.test(`${page}: modules`, { buffered: true }, (t) => runModules(t, modules))
    }
    for (const snippet of snippets.filter(isScript)) {
      t.test(`${page}:${snippet.line}`, { buffered: true }, async (t) => {
        if (snippet.kind === 'shell') await runShell(t, snippet)
        else for (const line of snippet.code.split('\n')) t.match(gate, line, 'the gate runs it')
      })
    }
  }
})
