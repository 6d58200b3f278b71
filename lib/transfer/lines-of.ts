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
  let pieces: string[] = []
  let length = 0
  let number = 1
  for await (const chunk of source) {
    const text = typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true })
    let start = 0
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', start)) {
      if (length + end - start > longest) throw new ImportRefusedError(number, tooLong)
      pieces.push(text.slice(start, end))
      yield pieces.join('')
      pieces = []
      length = 0
      number++
      start = end + 1
    }
    pieces.push(text.slice(start))
    length += text.length - start
    if (length > longest) throw new ImportRefusedError(number, tooLong)
  }
  const rest = pieces.join('')
  if (rest !== '') yield rest
}
