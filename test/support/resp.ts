/** Cuts what Redis and its clients say to each other into messages: commands and replies alike. */
export class MessageReader {
  #bytes = Buffer.alloc(0)

  /** The messages that are whole now, each as the bytes that were sent. */
  read(chunk: Buffer): Buffer[] {
    this.#bytes = Buffer.concat([this.#bytes, chunk])
    const messages: Buffer[] = []
    for (;;) {
      const end = endOf(this.#bytes, 0)
      if (end === null) return messages
      messages.push(this.#bytes.subarray(0, end))
      this.#bytes = this.#bytes.subarray(end)
    }
  }
}

/** The words of a command, as clients send them: an array of strings. */
export function wordsOf(command: Buffer): string[] {
  const words: string[] = []
  let at = command.indexOf('\r\n') + 2
  while (at < command.length) {
    const from = command.indexOf('\r\n', at) + 2
    const length = Number(command.toString('latin1', at + 1, from - 2))
    words.push(command.toString('utf8', from, from + length))
    at = from + length + 2
  }
  return words
}

/** Messages of several parts, and how many parts there are for each that is counted. */
const PARTS: Record<string, number> = { '*': 1, '~': 1, '>': 1, '%': 2 }
const STRINGS = '$=!'

/** Where the message that begins here ends; `null` if not all of it is there. */
function endOf(bytes: Buffer, at: number): number | null {
  const line = bytes.indexOf('\r\n', at)
  if (line < 0) return null
  const type = String.fromCharCode(bytes[at] ?? 0)
  const count = Number(bytes.toString('latin1', at + 1, line))
  let end: number | null = line + 2
  if (STRINGS.includes(type) && count >= 0) {
    end += count + 2
    return end <= bytes.length ? end : null
  }
  for (let part = count * (PARTS[type] ?? 0); part > 0 && end !== null; part--) {
    end = endOf(bytes, end)
  }
  return end
}
