// What tests and benchmarks need beside Node's own packages: real servers, a real browser, a
// tracer. Installs what is missing where apt-get can, and says what to install elsewhere.
import { spawnSync } from 'node:child_process'

const succeeds = (command, ...args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0
const onPath = (program) => () => succeeds('sh', '-c', `command -v ${program}`)

/** Debian's package name, and whether it is there already. */
const PACKAGES = new Map([
  [
    'libatomic1',
    () =>
      process.platform !== 'linux' ||
      succeeds('sh', '-c', '/sbin/ldconfig -p | grep -q libatomic.so.1')
  ],
  ['redis-server', onPath('redis-server')],
  ['chromium', onPath('chromium')],
  ['strace', onPath('strace')]
])

const missing = () => [...PACKAGES].filter(([, present]) => !present()).map(([name]) => name)

function aptGet(...args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  spawnSync('apt-get', ['-qq', ...args], { env, stdio: ['ignore', 'ignore', 'inherit'] })
}

const wanted = missing()
if (wanted.length > 0 && process.getuid?.() === 0 && onPath('apt-get')()) {
  aptGet('update')
  aptGet('install', '-y', '--no-install-recommends', ...wanted)
}
const lacking = missing()
if (lacking.length > 0) {
  throw new Error(`This needs what Debian calls ${lacking.join(', ')}: please install them.`)
}
