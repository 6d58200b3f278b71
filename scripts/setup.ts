// Installs what tests and benchmarks use beside npm's packages, after saying what; where it cannot,
// it says how, and the tests that need what is missing are skipped.
import { spawnSync } from 'node:child_process'
import { findProgram, INSISTS, LIBATOMIC, PROGRAMS, type Requirement } from './system.js'

/** What could be here and is not. */
function missing(): Requirement[] {
  const all: Requirement[] = [LIBATOMIC, ...Object.values(PROGRAMS)]
  return all.filter(({ brew, isPresent }) => {
    return !isPresent() && (process.platform === 'linux' || brew !== undefined)
  })
}

function aptGet(...args: string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const { status } = spawnSync('apt-get', ['-qq', ...args], {
    env,
    stdio: ['ignore', 'ignore', 'inherit']
  })
  return status === 0
}

function howToInstall(lacking: Requirement[]): string {
  if (process.platform === 'linux') {
    const names = lacking.map(({ debian }) => debian).join(' ')
    return `sudo apt-get install ${names}, or what your distribution calls them`
  }
  if (process.platform === 'darwin') {
    return `brew install ${lacking.map(({ brew }) => brew).join(' ')}`
  }
  return lacking.map(({ name }) => name).join(', ')
}

const wanted = missing()
for (const { name, purpose } of wanted) console.log(`${name} is missing: it is for ${purpose}.`)
if (wanted.length > 0 && process.getuid?.() === 0 && findProgram('apt-get') !== undefined) {
  const names = wanted.map(({ debian }) => debian)
  console.log(`Installing with apt-get: ${names.join(', ')}`)
  if (!aptGet('update') || !aptGet('install', '-y', '--no-install-recommends', ...names)) {
    console.log('apt-get failed.')
  }
}

const lacking = missing()
if (lacking.length === 0) console.log('All that the tests use is here.')
else {
  console.log(`To install: ${howToInstall(lacking)}`)
  if (lacking.includes(LIBATOMIC)) console.log('Without libatomic no test can run.')
  else console.log('Tests that need what is missing are skipped, and counted as skipped.')
  if (INSISTS || lacking.includes(LIBATOMIC)) process.exitCode = 1
}
