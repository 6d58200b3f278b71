import { setTimeout as pause } from 'node:timers/promises'

const LIMIT = 60_000

/** Asks again each turn until the condition holds; fails after a bound that only a bug reaches. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const start = performance.now()
  while (!(await condition())) {
    if (performance.now() - start > LIMIT) throw new Error('the condition never came true')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** As `until`, with pauses: for what other processes agree on, who need the cores for that. */
export async function settles(condition: () => boolean | Promise<boolean>): Promise<void> {
  await until(async () => {
    if (await condition()) return true
    await pause(20)
    return false
  })
}
