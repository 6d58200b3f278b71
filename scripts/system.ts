import { accessSync, constants } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join } from 'node:path'

/** Something outside npm that tests or benchmarks use. */
export interface Requirement {
  readonly name: string
  /** What needs it. */
  readonly purpose: string
  /** What Debian and Ubuntu call it. */
  readonly debian: string
  /** What Homebrew calls it; none where it exists on Linux alone. */
  readonly brew?: string
  readonly isPresent: () => boolean
}

/** The names under which distributions have Chromium or its sibling. */
const BROWSERS = ['chromium', 'chromium-browser', 'google-chrome']

/** The path of the first of these programs in the PATH. */
export function findProgram(...names: string[]): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '')
  const paths = names.flatMap((name) => folders.map((folder) => join(folder, name)))
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

export function findBrowser(): string | undefined {
  return findProgram(...BROWSERS)
}

function bindingLoads(): boolean {
  try {
    createRequire(import.meta.url)('rocksdb-native')
    return true
  } catch (error) {
    const causes = `${error} ${error instanceof Error ? error.cause : ''}`
    // Anything else is no matter of a package: the tests of opening say what it is.
    return !causes.includes('libatomic')
  }
}

/** Without it nothing works. */
export const LIBATOMIC: Requirement = {
  name: 'libatomic',
  purpose: 'rocksdb-native',
  debian: 'libatomic1',
  isPresent: bindingLoads
}

const isOnPath = (name: string) => () => findProgram(name) !== undefined

export const PROGRAMS = {
  'redis-server': {
    name: 'redis-server',
    purpose: 'the tests of the store on Redis',
    debian: 'redis-server',
    brew: 'redis',
    isPresent: isOnPath('redis-server')
  },
  chromium: {
    name: 'chromium',
    purpose: 'the tests of the login example in a browser',
    debian: 'chromium',
    brew: 'chromium',
    isPresent: () => findBrowser() !== undefined
  },
  strace: {
    name: 'strace',
    purpose: "the tests of durability: 'power'",
    debian: 'strace',
    isPresent: isOnPath('strace')
  }
} as const satisfies Record<string, Requirement>

/** Continuous integration on Linux has all of them; there a missing one is a failure. */
export const INSISTS = process.env.CI === 'true' && process.platform === 'linux'
