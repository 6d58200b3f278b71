import { compareAndSetCases } from './compare-and-set.js'
import { durabilityCases } from './durability.js'
import { faultCases } from './faults.js'
import { type Case, runCase, type StorePlace } from './harness.js'
import { leaseCases } from './leases.js'
import { listCases } from './lists.js'
import { severalWritersCases } from './several-writers.js'
import { singleSessionCases } from './single-sessions.js'

/** One line of the contract, to be handed to any test runner; rejects with an AssertionError. */
export interface ConformanceCase {
  readonly name: string
  run(): Promise<void>
}

const CASES: Case[] = [
  ...singleSessionCases,
  ...listCases,
  ...durabilityCases,
  ...faultCases,
  ...severalWritersCases,
  ...compareAndSetCases,
  ...leaseCases
]

/**
 * The tests that every `SessionStore` must pass: each line of the contract in its comments. Those
 * for which the place has no means (faults without `break`, for example), or that are for the
 * other kind of store, pass without doing anything.
 *
 * ```ts
 * import { test } from 'node:test'
 * for (const { name, run } of conformanceCases(() => ({ createStore: () => new MyStore() }))) {
 *   test(name, run)
 * }
 * ```
 *
 * @param createPlace makes an empty place for the stores of one case
 */
export function conformanceCases(
  createPlace: () => StorePlace | Promise<StorePlace>
): ConformanceCase[] {
  return CASES.map((each) => ({
    name: each.name,
    async run() {
      await runCase(await createPlace(), each)
    }
  }))
}
