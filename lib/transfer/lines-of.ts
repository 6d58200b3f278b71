import { ImportRefusedError } from '../errors.js'

/** Four times what the largest session may take, for what JSON adds. */
const LONGEST_LINE = 64 * 1024 * 1024

/**
 * The lines of a stream, none longer than 64 MiB in memory.
 *
 * @throws {ImportRefusedError} for a line that is longer
 */
export async function* linesOf(source: AsyncIterable<string | Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let pieces: string[] = []
  let length = 0
  let number = 1
  for await (const chunk of source) {
    const text = typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true })
    let start = 0
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', start)) {
      pieces.push(text.slice(start, end))
      yield pieces.join('')
      pieces = []
      length = 0
      number++
      start = end + 1
    }
    pieces.push(text.slice(start))
    length += text.length - start
    if (length > LONGEST_LINE) throw new ImportRefusedError(number, 'is too long')
  }
  const rest = pieces.join('')
  if (rest !== '') yield rest
}
