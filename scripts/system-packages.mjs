// What the tests need beside Node's own packages: real servers, a real browser, a tracer. Installs
// what is missing where apt-get can, and says what to install elsewhere.
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

/** Throws with the names of the packages that are missing and cannot be installed from here. */
export function installSystemPackages() {
  const missing = () => [...PACKAGES].filter(([, present]) => !present()).map(([name]) => name)
  const wanted = missing()
  if (wanted.length === 0) return
  if (process.getuid?.() === 0 && onPath('apt-get')()) {
    const run = (...args) =>
      spawnSync('apt-get', ['-qq', ...args], {
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
        stdio: ['ignore', 'ignore', 'inherit']
      })
    run('update')
    run('install', '-y', '--no-install-recommends', ...wanted)
  }
  const lacking = missing()
  if (lacking.length > 0) {
    throw new Error(`The tests need what Debian calls ${lacking.join(', ')}: please install them.`)
  }
}
