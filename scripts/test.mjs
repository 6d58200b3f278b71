// The project's whole test: lint, types, build, tap with a coverage floor. Prints the true counts
// as its last line. With file names as arguments it runs only those, without the floor.
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { relative } from 'node:path'
import './system-packages.mjs'

const COVERAGE_FLOOR = 95
const files = process.argv.slice(2)

let passed = 0
let failed = 0
let skipped = 0

function check(name, ok) {
  if (ok) passed++
  else failed++
  console.log(`${ok ? 'ok' : 'NOT OK'} - ${name}`)
}

/** Runs one of the project's own tools, its output passed on; resolves to the exit code. */
function run(tool, args, onOutput) {
  return new Promise((resolve, reject) => {
    const child = spawn('npx', ['--no-install', tool, ...args], {
      stdio: ['ignore', onOutput === undefined ? 'inherit' : 'pipe', 'inherit']
    })
    child.stdout?.setEncoding('utf8').on('data', onOutput)
    child.on('error', reject)
    child.on('close', resolve)
  })
}

/** Counts what tap's own summary says; a test file that crashes counts as failed there. */
async function runTap() {
  let output = ''
  const code = await run('tap', ['run', '--reporter=tap', ...files], (text) => {
    output += text
  })
  const summary = /^# (\{ total: .*\})$/m.exec(output)?.[1] ?? ''
  const count = (word) => Number(new RegExp(`\\b${word}: (\\d+)`).exec(summary)?.[1] ?? 0)
  passed += count('pass')
  failed += count('fail')
  skipped += count('skip') + count('todo')
  if (count('pass') === 0 || (code !== 0 && count('fail') === 0)) check('tap ran to its end', false)
  if (failed > 0 || code !== 0) process.stdout.write(output)
  else for (const line of output.matchAll(/^ok \d+ - .*$/gm)) console.log(line[0])
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

if (files.length === 0) {
  check('lint and format', (await run('biome', ['ci', '--error-on-warnings', '.'])) === 0)
  check('types', (await run('tsc', [])) === 0)
  const tables = await run('tsx', ['benchmarks/tables.ts', '--check'])
  check('the documentation has the measurements of benchmarks/results', tables === 0)
}
check('build', (await run('tsc', ['-p', 'tsconfig.build.json'])) === 0)
await runTap()
if (files.length === 0) await checkCoverage()

console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 ? 1 : 0
