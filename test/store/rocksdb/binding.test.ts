import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { test } from 'tap'
import { loadBinding } from '../../../lib/store/rocksdb/engine/binding.js'
import { explainLoadFailure } from '../../../lib/store/rocksdb/engine/load-failure.js'
import { root, snippetFolder } from '../../support/snippets.js'

const code = 'SLED_SESSION_BINDING_UNAVAILABLE'

test('a missing libatomic is named, with how to install it', async (t) => {
  const dlopen = new Error(
    'libatomic.so.1: cannot open shared object file: No such file or directory'
  )
  const loading = loadBinding(() =>
    Promise.reject(new Error("Cannot find addon '.'", { cause: dlopen }))
  )
  await t.rejects(loading, { code, message: /libatomic.*apt-get install libatomic1/s })
})

test('a module that is not there is installed anew, where it has binaries', async (t) => {
  const { platform, arch } = process
  const message = new RegExp(`no such module.*this is ${platform} ${arch}.*npm ci`)
  await t.rejects(
    loadBinding(() => Promise.reject(new Error('no such module'))),
    { code, message }
  )
  await t.rejects(
    loadBinding(() => Promise.reject('no error at all')),
    { code }
  )
})

const machine = { platform: 'linux', arch: 'x64', glibc: '2.36', isBundled: false }
const dlopen = (message: string): Error =>
  new Error("Cannot find addon '.'", { cause: new Error(message) })

for (const [system, reason, own, lacking] of [
  [
    'Debian 11',
    "/lib/x86_64-linux-gnu/libm.so.6: version `GLIBC_2.33' not found (required by rocksdb-native.node)",
    { glibc: '2.31' },
    'This system has glibc 2.31'
  ],
  [
    'RHEL 9',
    "/lib64/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by rocksdb-native.node)",
    { glibc: '2.34' },
    'it has no GLIBCXX_3.4.30'
  ],
  [
    'a slim image',
    'libstdc++.so.6: cannot open shared object file: No such file or directory',
    {},
    'This system has no libstdc++'
  ],
  [
    'Alpine',
    'Error loading shared library ld-linux-x86-64.so.2: No such file or directory',
    { glibc: undefined },
    'musl in place of glibc'
  ]
] as const) {
  test(`${system} is told what it lacks, and that a new install cannot help`, async (t) => {
    const { message } = explainLoadFailure(dlopen(reason), { ...machine, ...own })
    t.match(message, reason)
    t.match(message, lacking)
    t.match(message, 'glibc 2.34 and the libstdc++ of GCC 12')
    t.match(message, 'Installing it anew cannot help')
    t.notMatch(message, 'npm ci')
  })
}

test('a bundle is told to leave it out, and works without it', async (t) => {
  const folder = await snippetFolder(t)
  const open = `import { openSessionStore } from './lib/index.js'
    openSessionStore(${JSON.stringify(join(folder, 'storage'))}).then(
      (store) => store.close().then(() => console.log('it works')),
      ({ code, message }) => console.log(code, message))`
  const bundle = async (external: string[]): Promise<string> => {
    const outfile = join(folder, `${external.length}.cjs`)
    await build({
      stdin: { contents: open, resolveDir: root },
      bundle: true,
      platform: 'node',
      logLevel: 'silent',
      format: 'cjs',
      external,
      outfile
    })
    return (await promisify(execFile)(process.execPath, [outfile])).stdout
  }
  const said = await bundle([])
  t.match(said, code)
  t.match(said, '--external:rocksdb-native')
  t.equal(await bundle(['rocksdb-native']), 'it works\n')
})

test('on this machine it loads', async (t) => {
  t.type(await loadBinding(), 'function')
})
