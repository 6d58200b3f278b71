import { printableJson, printableLines } from '../../record/printable.js'

/** Where a command writes: results to stdout, progress and errors to stderr. */
export class Output {
  readonly json: boolean

  constructor(json: boolean) {
    this.json = json
    // Each write reports its own failure; without listeners, these events would end the process.
    process.stdout.on('error', () => {})
    process.stderr.on('error', () => {})
  }

  /** Resolves when the reader has taken it, so that a slow one is never run over. */
  write(piece: string): Promise<void> {
    return new Promise((resolve, reject) => {
      process.stdout.write(piece, (error) => (error ? reject(error) : resolve()))
    })
  }

  /** A result: one line of JSON with `--json`, else what `describe` makes of it. */
  result<T extends object>(value: T, describe: (value: T) => string): Promise<void> {
    const shown = this.json ? printableJson(JSON.stringify(value)) : printableLines(describe(value))
    return this.write(`${shown}\n`)
  }

  /** For people; with `--json`, nothing is written. */
  note(message: string): void {
    if (!this.json) process.stderr.write(`${printableLines(message)}\n`)
  }

  failure(message: string, code: unknown): void {
    const error = { code: typeof code === 'string' ? code : null, message }
    process.stderr.write(
      this.json
        ? `${printableJson(JSON.stringify({ error }))}\n`
        : `sled-session: ${printableLines(message)}\n`
    )
  }
}

/** Names and values below each other, in two columns. */
export function fields(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length))
  return pairs.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}

export function describeUnreadable(unreadable: number): string {
  return `not readable, and left out: ${count(unreadable)}; "sled-session verify" tells more`
}

export function count(value: number): string {
  return value.toLocaleString('en-US')
}

export function bytes(value: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  const step = value < 1 ? 0 : Math.min(Math.floor(Math.log2(value) / 10), units.length - 1)
  const scaled = value / 1024 ** step
  return `${step === 0 ? scaled : scaled.toFixed(1)} ${units[step]}`
}
