// The project's whole test: lint, types, build, tap with a coverage floor. Says of each file how it
// went as soon as it has ended, and prints the true counts as its last line. With file names as
// arguments it runs only those, without the floor; with --fast, what needs no build and little time.
import { spawn } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { relative } from 'node:path'
import { createInterface } from 'node:readline'

const COVERAGE_FLOOR = 95
/** Files of many processes, long runs or whole programs: for the run before a push. */
const SLOW = [
  'test/cli/',
  'test/docs/',
  'test/interop/',
  'test/store/redis/',
  'test/store/conformance',
  'test/store/lmdb/backup',
  'test/store/lmdb/crash',
  'test/store/lmdb/deploy',
  'test/store/lmdb/disk-full',
  'test/store/lmdb/growth',
  'test/store/lmdb/power',
  'test/store/lmdb/processes',
  'test/store/rocksdb/backup',
  'test/store/rocksdb/binding',
  'test/store/rocksdb/cache',
  'test/store/rocksdb/corruption',
  'test/store/rocksdb/crash',
  'test/store/rocksdb/damaged-block',
  'test/store/rocksdb/disk-full',
  'test/store/rocksdb/format.test',
  'test/store/rocksdb/lock-timeout',
  'test/store/rocksdb/power',
  'test/store/rocksdb/reaper',
  'test/session/holders',
  'test/session/interleaving',
  'test/session/rejected-writes',
  'test/session/renewal-races',
  'test/session/touches',
  'test/http/answers',
  'test/http/attacks',
  'test/http/cookie-form',
  'test/http/exclusive-processes',
  'test/http/exclusive-turns',
  'test/http/fuzz',
  'test/http/many-sessions',
  'test/http/slow-store',
  'test/http/visits'
]

const isFast = process.argv.includes('--fast')
const files = process.argv.slice(2).filter((argument) => argument !== '--fast')
const isWhole = !isFast && files.length === 0

let passed = 0
let failed = 0
let skipped = 0

function check(name, ok) {
  if (ok) passed++
  else failed++
  console.log(`${ok ? 'ok' : 'NOT OK'} - ${name}`)
}

function skip(name, reason) {
  skipped++
  console.log(`skipped - ${name}: ${reason}`)
}

/** Runs one of the project's own tools; resolves to the exit code. */
function run(tool, args, onLine) {
  return new Promise((resolve, reject) => {
    const child = spawn('npx', ['--no-install', tool, ...args], {
      stdio: ['ignore', onLine === undefined ? 'inherit' : 'pipe', 'inherit'],
      shell: process.platform === 'win32'
    })
    if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', onLine)
    child.on('error', reject)
    child.on('close', resolve)
  })
}

/** What is wrong with the machine, as a sentence, before every single test says it. */
async function unusable() {
  try {
    await import('rocksdb-native')
  } catch (error) {
    return `rocksdb-native cannot be loaded (${error.cause?.message ?? error.message}). Run "npm run setup", which installs or names what is missing.`
  }
}

/** Follows tap's output: the lines of a file come together, when it has ended. */
class Report {
  #lines = []
  #summary = ''
  #isQuiet

  /** @param isQuiet whether only failures and skipped tests are told */
  constructor(isQuiet = false) {
    this.#isQuiet = isQuiet
  }

  read(line) {
    if (line.startsWith('# { total: ')) this.#summary = line
    const [, not, name, milliseconds] =
      /^(not )?ok \d+ - (.+?)(?: # time=([\d.]+)ms.*)?(?: \{)?$/.exec(line) ?? []
    if (name === undefined) {
      this.#lines.push(line)
      return
    }
    const seconds = milliseconds === undefined ? '' : ` (${(milliseconds / 1000).toFixed(1)} s)`
    if (not !== undefined) for (const said of this.#lines) console.log(said)
    else for (const said of this.#lines) if (/ # SKIP /i.test(said)) console.log(said.trim())
    if (not !== undefined) console.log(`NOT OK - ${name}${seconds}`)
    else if (!this.#isQuiet || / # SKIP /i.test(name)) console.log(`ok - ${name}${seconds}`)
    this.#lines = []
  }

  /** By tap's own summary, in which a test file that crashes has failed. */
  count(word) {
    return Number(new RegExp(`\\b${word}: (\\d+)`).exec(this.#summary)?.[1] ?? 0)
  }

  get rest() {
    return this.#lines
  }
}

function runTap(args) {
  return follow('tap', ['run', '--reporter=tap', ...args], new Report())
}

/** In a process for each core; tap's own runner starts one for each file. */
async function runFast(files) {
  process.env.TAP_TIMEOUT ??= '300'
  const cores = Math.min(availableParallelism(), files.length)
  const parts = Array.from({ length: cores }, (_, core) =>
    files.filter((_, at) => at % cores === core)
  )
  await Promise.all(
    parts.map((part) => follow('tsx', ['scripts/run-files.mjs', ...part], new Report(true)))
  )
}

async function follow(tool, args, report) {
  const code = await run(tool, args, (line) => report.read(line))
  passed += report.count('pass')
  failed += report.count('fail')
  skipped += report.count('skip') + report.count('todo')
  if (report.count('pass') === 0 || (code !== 0 && report.count('fail') === 0)) {
    for (const line of report.rest) console.log(line)
    check('tap ran to its end', false)
  }
}

/**
 * Of the source, in the tests' own processes: not of the build, which examples and documentation
 * run, nor of the command, which is tested as a process of its own.
 */
async function checkCoverage() {
  await run('tap', ['report', '--coverage-report=json-summary', '--coverage-report=text'])
  const summary = JSON.parse(await readFile('.tap/report/coverage-summary.json', 'utf8'))
  const source = Object.entries(summary).filter(([file]) => {
    const path = relative('lib', file)
    return !path.startsWith('..') && !path.startsWith('tools/cli')
  })
  for (const kind of ['lines', 'branches']) {
    const sum = (what) => source.reduce((total, [, counts]) => total + counts[kind][what], 0)
    const percent = (100 * sum('covered')) / sum('total')
    const name = `${percent.toFixed(2)} % of ${kind} covered, ${COVERAGE_FLOOR} % asked`
    check(name, percent >= COVERAGE_FLOOR)
  }
}

async function checkSource() {
  check('lint and format', (await run('biome', ['ci', '--error-on-warnings', '.'])) === 0)
  check('types', (await run('tsc', [])) === 0)
  const tables = await run('tsx', ['benchmarks/tables.ts', '--check'])
  check('the documentation has the measurements of benchmarks/results', tables === 0)
}

async function findTests() {
  const found = await readdir('test', { recursive: true })
  const names = found.map((name) => `test/${name.replaceAll('\\', '/')}`)
  return names.filter((name) => name.endsWith('.test.ts'))
}

const isSlow = (file) => SLOW.some((slow) => file.startsWith(slow))

const problem = await unusable()
if (problem !== undefined) {
  console.error(problem)
  check('the machine has what every test needs', false)
} else if (isFast) {
  const fast = (await findTests()).filter((file) => !isSlow(file))
  await runFast(fast.sort())
} else {
  if (isWhole) await checkSource()
  check('build', (await run('tsc', ['-p', 'tsconfig.build.json'])) === 0)
  await runTap(files)
  if (isWhole && skipped > 0 && process.env.CI !== 'true') {
    skip('the coverage floor', 'some tests were skipped')
  } else if (isWhole) await checkCoverage()
  if (isWhole) {
    skip('the benchmark beside the original', '"npm run bench:original" builds it and runs it')
  }
}

console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 ? 1 : 0
