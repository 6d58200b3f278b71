import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Test, test } from 'tap'
import { temporaryFolder } from '../support/app.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../', import.meta.url))

/** An empty project that has the packed tarball installed, and Fastify beside it. */
async function installTarball(t: Test): Promise<{ project: string; files: string[] }> {
  const project = await temporaryFolder(t)
  const modules = join(project, 'node_modules')
  await mkdir(modules)
  // The build is the test command's own; without scripts, packing twice at once is safe.
  const { stdout } = await run(
    'npm',
    ['pack', '--json', '--ignore-scripts', '--pack-destination', project],
    { cwd: root }
  )
  const [packed] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }]
  await run('tar', ['-xzf', packed.filename, '-C', modules], { cwd: project })
  await run('mv', ['package', 'fastify-sled-session'], { cwd: modules })
  // In place of a download: everything else that npm would install.
  for (const name of await readdir(join(root, 'node_modules'))) {
    if (name.startsWith('.') || name === 'fastify-sled-session') continue
    await symlink(join(root, 'node_modules', name), join(modules, name))
  }
  return { project, files: packed.files.map(({ path }) => path) }
}

const COUNTER = `
async function count(sledSession, onInactivity) {
  const app = Fastify()
  await app.register(sledSession, { path: './storage', secure: false, expiry: onInactivity(5000) })
  app.get('/', async ({ session }) => {
    const counter = session.get('counter') ?? 0
    session.set('counter', counter + 1)
    return String(counter)
  })
  const first = await app.inject('/')
  const { name, value } = first.cookies[0]
  const second = await app.inject({ url: '/', cookies: { [name]: value } })
  await app.close()
  console.log(first.body, second.body)
}
`

const CONSUMER = `
import Fastify from 'fastify'
import sledSession, { onInactivity, type Session } from 'fastify-sled-session'

declare module 'fastify-sled-session' {
  interface SessionData { counter: number }
}

const app = Fastify()
await app.register(sledSession, { path: './storage', expiry: onInactivity({ minutes: 5 }) })
app.get('/', async (request) => {
  const session: Session = request.session
  const counter: number = session.get('counter') ?? 0
  // @ts-expect-error the counter is a number
  session.set('counter', 'one')
  return { counter, devices: await app.sessions.list('ann') }
})
`

const ENTRIES = `
import { conformanceCases } from 'fastify-sled-session/conformance'
import { toExpressStore } from 'fastify-sled-session/express'
import { LmdbStore } from 'fastify-sled-session/lmdb'
import { sessionMetrics } from 'fastify-sled-session/prometheus'
import { RedisStore } from 'fastify-sled-session/redis'
import { takeOver } from 'fastify-sled-session/take-over'

export const entries: object[] = [conformanceCases, toExpressStore, sessionMetrics, LmdbStore, RedisStore, takeOver]
`

test('the tarball works in an empty project: import, require and types', async (t) => {
  const { project, files } = await installTarball(t)

  await t.test('it holds what is needed and nothing else', async (t) => {
    const allowed =
      /^(dist\/.*\.(js|d\.ts)|docs\/.*|examples\/.*\.(ts|mjs|cjs)|benchmarks\/results\/.*\.svg|README\.md|CHANGELOG\.md|SECURITY\.md|LICENSE|package\.json)$/
    t.same(
      files.filter((path) => !allowed.test(path)),
      []
    )
    for (const path of [
      'dist/index.js',
      'dist/index.d.ts',
      'README.md',
      'LICENSE',
      'CHANGELOG.md'
    ]) {
      t.ok(files.includes(path), path)
    }
    const { exports } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
    for (const target of Object.values<string | object>(exports)) {
      for (const path of typeof target === 'string' ? [target] : Object.values(target)) {
        t.ok(files.includes(path.replace('./', '')), `${path} of the exports`)
      }
    }
  })

  await t.test('import', async (t) => {
    await writeFile(
      join(project, 'esm.mjs'),
      `import Fastify from 'fastify'
       import sledSession, { onInactivity, sledSession as named } from 'fastify-sled-session'
       if (sledSession !== named) throw new Error('two plugins')
       ${COUNTER}
       await count(sledSession, onInactivity)`
    )
    t.equal((await run(process.execPath, ['esm.mjs'], { cwd: project })).stdout, '0 1\n')
  })

  await t.test('require', async (t) => {
    await writeFile(
      join(project, 'cjs.cjs'),
      `const Fastify = require('fastify')
       const { default: sledSession, sledSession: named, onInactivity } = require('fastify-sled-session')
       if (sledSession !== named) throw new Error('two plugins')
       ${COUNTER}
       count(sledSession, onInactivity)`
    )
    t.equal((await run(process.execPath, ['cjs.cjs'], { cwd: project })).stdout, '0 1\n')
  })

  await t.test('types', async (t) => {
    await writeFile(join(project, 'package.json'), '{ "type": "module" }')
    await writeFile(join(project, 'consumer.ts'), CONSUMER)
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    await writeFile(join(project, 'entries.ts'), ENTRIES)
    for (const module of [
      ['--module', 'nodenext', 'consumer.ts', 'entries.ts'],
      ['--module', 'preserve', 'consumer.ts', 'entries.ts'],
      // No top-level await there, and no `exports` of packages.
      [
        ...['--module', 'commonjs', '--moduleResolution', 'node10'],
        ...['--ignoreDeprecations', '6.0', '--esModuleInterop', '--skipLibCheck', 'entries.ts']
      ]
    ]) {
      const options = ['--strict', '--noEmit', '--target', 'es2022', '--types', 'node']
      const compiling = run(process.execPath, [tsc, ...options, ...module], { cwd: project })
      await t.resolves(
        compiling.catch((error: { stdout: string }) => {
          throw new Error(error.stdout)
        }),
        module.join(' ')
      )
    }
  })

  t.equal(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')).type, 'module')
})
