import { type Test, test } from 'tap'
import { INSISTS, PROGRAMS } from '../../scripts/system.js'

/** The reason to skip what needs this program, or `false` where it is, or has to be. */
export function lacks(program: keyof typeof PROGRAMS): string | false {
  if (INSISTS || PROGRAMS[program].isPresent()) return false
  return `${program} is not installed: npm run setup`
}

/** The options of a test that needs a program: `test('…', needs('strace'), async (t) => …)`. */
export function needs(program: keyof typeof PROGRAMS): { skip: string | false } {
  return { skip: lacks(program) }
}

/** The options of a test that runs on each kind of store, of which Redis is one. */
export function needsFor(store: string): { skip: string | false } {
  return { skip: store === 'Redis' && lacks('redis-server') }
}

/** In place of tap's `test` where all tests of a file need a program. */
export function testWith(program: keyof typeof PROGRAMS) {
  return (name: string, run: (t: Test) => Promise<unknown>) => test(name, needs(program), run)
}
