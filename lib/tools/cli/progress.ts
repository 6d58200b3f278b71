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
    if (!this.#visible || now - this.#drawnAt < INTERVAL_MS) return
    this.#drawnAt = now
    process.stderr.write(`\r\x1b[K${drawBar(this.#name, progress)}`)
  }

  clear(): void {
    if (this.#drawnAt > 0) process.stderr.write('\r\x1b[K')
    this.#drawnAt = 0
  }
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
