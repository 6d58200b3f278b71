import type { Progress } from '../../store/long-operation.js'
import { count } from './output.js'

const WIDTH = 24
/** Drawing costs more than the work that it shows. */
const INTERVAL_MS = 100

/** A bar on stderr while something takes long; nothing at all if that is no terminal. */
export class ProgressBar {
  readonly #name: string
  readonly #visible = process.stderr.isTTY === true
  #drawnAt = 0

  constructor(name: string) {
    this.#name = name
  }

  readonly update = (progress: Progress): void => {
    const now = performance.now()
    if (!this.#visible || ended || now - this.#drawnAt < INTERVAL_MS) return
    this.#drawnAt = now
    process.stderr.write(`\r\x1b[K${fitLine(drawBar(this.#name, progress))}`)
  }

  clear(): void {
    if (this.#drawnAt > 0 && !ended) process.stderr.write('\r\x1b[K')
    this.#drawnAt = 0
  }
}

let ended = false

/** Draws nothing from here on, and ends the line: the terminal has put `^C` into it. */
export function endProgress(): void {
  if (!ended && process.stderr.isTTY === true) process.stderr.write('\n')
  ended = true
}

/** A line that reaches the last column would wrap, and each drawing would scroll. */
export function fitLine(line: string, columns = process.stderr.columns ?? 80): string {
  return line.slice(0, Math.max(0, columns - 1))
}

/** `backup  [############------------]  50 %  100 of about 200` */
export function drawBar(name: string, { done, total }: Progress): string {
  if (total === null) return `${name}  ${count(done)}`
  const share = total === 0 ? 1 : Math.min(done / total, 1)
  const filled = Math.round(share * WIDTH)
  const bar = '#'.repeat(filled) + '-'.repeat(WIDTH - filled)
  const percent = String(Math.floor(share * 100)).padStart(3)
  return `${name}  [${bar}] ${percent} %  ${count(done)} of about ${count(total)}`
}
