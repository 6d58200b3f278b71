export { type ConformanceCase, conformanceCases } from './tools/conformance/conformance.js'
export type { StorePlace } from './tools/conformance/harness.js'
