import { execFileSync } from 'node:child_process'
import { readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * What an installation takes, in bytes, in `results/size.json`: the package as it is published,
 * with all that it depends on, and what of that are binaries for other platforms.
 *
 *     npm run bench:size
 */
const root = fileURLToPath(new URL('..', import.meta.url))
const npm = (...args: string[]): string =>
  execFileSync('npm', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })

/** Without packages inside, which are listed by themselves. */
async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true })
  const sizes = entries.map(async (entry) => {
    const path = join(folder, entry.name)
    if (!entry.isDirectory()) return (await stat(path)).size
    return entry.name === 'node_modules' ? 0 : sizeOf(path)
  })
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

const [own] = JSON.parse(npm('pack', '--dry-run', '--json', '--ignore-scripts')) as {
  unpackedSize: number
}[]
const [, ...dependencies] = npm('ls', '--omit=dev', '--all', '--parseable').trim().split('\n')
const sizes = await Promise.all(dependencies.map(sizeOf))
const installed = sizes.reduce((sum, size) => sum + size, own?.unpackedSize ?? 0)

const prebuilds = join(root, 'node_modules/rocksdb-native/prebuilds')
const others = (await readdir(prebuilds)).filter(
  (name) => name !== `${process.platform}-${process.arch}`
)
const otherSizes = await Promise.all(others.map((name) => sizeOf(join(prebuilds, name))))
const otherPlatforms = otherSizes.reduce((sum, size) => sum + size, 0)

const result = { date: new Date().toISOString().slice(0, 10), installed, otherPlatforms }
console.log(result)
await writeFile(`${root}benchmarks/results/size.json`, `${JSON.stringify(result, null, 2)}\n`)
