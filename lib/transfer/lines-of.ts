import { ImportRefusedError } from '../errors.js'

/**
 * The lines of a stream.
 *
 * @param longest the most characters that one may have: no more are held
 * @param tooLong what is said of a longer one
 * @throws {ImportRefusedError}
 */
export async function* linesOf(
  source: AsyncIterable<string | Uint8Array>,
  longest: number,
  tooLong: string
): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let line = ''
  let number = 1
  for await (const chunk of source) {
    const piece = typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true })
    for (const [at, part] of piece.split('\n').entries()) {
      if (at > 0) {
        yield line
        line = ''
        number++
      }
      line += part
      if (line.length > longest) throw new ImportRefusedError(number, tooLong)
    }
  }
  if (line !== '') yield line
}
