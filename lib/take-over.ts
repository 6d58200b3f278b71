export { type FormerStore, type TakeOverOptions, takeOver } from './tools/take-over/take-over.js'
