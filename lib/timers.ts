import timers from 'node:timers'
import timersPromises from 'node:timers/promises'

/**
 * The timers and clocks of the process, taken when this is loaded. Whoever replaces the global ones
 * later, as fake timers in a test do, stops neither writes nor limits of time.
 */
export const { setImmediate, setTimeout, clearTimeout, setInterval, clearInterval } = timers
export const { setImmediate: nextTurn, setTimeout: pause } = timersPromises
/** The longest that a timer of Node can wait, in ms. */
export const LONGEST_TIMER = 2 ** 31 - 1
/** In ms since 1970. */
export const now: () => number = Date.now
/** In ms, and never set back. */
export const elapsed: () => number = performance.now.bind(performance)
