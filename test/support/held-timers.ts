import { mock } from 'node:test'

/**
 * Holds all intervals of a test file, which imports this before anything else: the plugin takes its
 * timers when it is loaded.
 */
mock.timers.enable({ apis: ['setInterval'] })

/** Makes the time of intervals pass, in ms. */
export function passTime(milliseconds: number): void {
  mock.timers.tick(milliseconds)
}
