export type { FormerStore, TakeOverOptions } from './tools/take-over/options.js'
export { takeOver } from './tools/take-over/take-over.js'
