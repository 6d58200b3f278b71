import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Test, test } from 'tap'
import { createApp } from '../support/app.js'
import { freePort } from '../support/ports.js'
import { startRedis } from '../support/redis.js'
import {
  listPages,
  readSnippets,
  root,
  type Snippet,
  TypeChecker,
  toModule
} from '../support/snippets.js'

const run = promisify(execFile)
const types = new TypeChecker()

/** A folder inside the project, so that its packages and the package itself are found by name. */
async function folderOf(t: Test): Promise<string> {
  await mkdir(join(root, '.tap'), { recursive: true })
  const folder = await mkdtemp(join(root, '.tap', 'snippet-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'tsconfig.json'), '{}')
  return folder
}

/** The pages show the usual ports; here they are free ones, with a Redis of our own behind one. */
async function withPorts(t: Test, code: string, port: number): Promise<string> {
  const own = code.replaceAll('3000', String(port))
  if (!own.includes('6379')) return own
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  return own.replaceAll('6379', String(redis.port))
}

/** Types first, one after the other; then all in one process: a program alone, fragments together. */
async function runModules(t: Test, snippets: Snippet[]): Promise<void> {
  const folder = await folderOf(t)
  const port = await freePort()
  const modules: string[] = []
  for (const snippet of snippets) {
    const file = join(folder, `line-${snippet.line}.ts`)
    await writeFile(file, await withPorts(t, toModule(snippet), port))
    t.same(types.errors(file), [], `the types in line ${snippet.line} are right`)
    modules.push(`${snippet.kind}:${file}`)
  }
  const runner = join(root, 'test', 'fixtures', 'run-snippet.ts')
  const tsx = ['--import', import.meta.resolve('tsx')]
  await runOrFail(t, process.execPath, [...tsx, runner, String(port), ...modules], folder)
}

/** In a folder with a database in ./storage, and with the package's own commands in the PATH. */
async function runShell(t: Test, { code }: Snippet): Promise<void> {
  const folder = await folderOf(t)
  const app = await createApp(t, { path: join(folder, 'storage') })
  app.get('/', async ({ session }) => session.setPrincipal('ann'))
  for (let visitor = 0; visitor < 3; visitor++) await app.inject('/')
  await app.close()
  await linkCommands(folder)
  await runOrFail(
    t,
    'bash',
    ['-euo', 'pipefail', '-c', await withPorts(t, code, await freePort())],
    folder
  )
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
  await run(file, args, { cwd, env, timeout: 60_000 }).then(
    () => t.pass('it runs'),
    (error: { stdout: string; stderr: string }) => t.fail(`${error.stdout}\n${error.stderr}`)
  )
}

const isFragment = ({ kind }: Snippet): boolean => kind === 'app' || kind === 'handler'

test('every code block in the documentation does what it says', async (t) => {
  const gate = await readFile(join(root, '.ci', 'run'), 'utf8')
  t.jobs = 2
  for (const page of await listPages()) {
    const snippets = await readSnippets(page)
    const fragments = snippets.filter(isFragment)
    if (fragments.length > 0) {
      t.test(`${page}: fragments`, { buffered: true }, (t) => runModules(t, fragments))
    }
    for (const snippet of snippets.filter((snippet) => !isFragment(snippet))) {
      t.test(`${page}:${snippet.line}`, { buffered: true }, async (t) => {
        if (snippet.kind === 'program') await runModules(t, [snippet])
        else if (snippet.kind === 'shell') await runShell(t, snippet)
        else for (const line of snippet.code.split('\n')) t.match(gate, line, 'the gate runs it')
      })
    }
  }
})
