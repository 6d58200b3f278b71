/** What steers a terminal, or makes a string look like another: control, format and separator characters. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

/** The same JSON with such characters of its strings escaped. It means what it meant. */
export function printableJson(json: string): string {
  return json.replace(UNPRINTABLE, escapeUnits)
}

/** A string of several lines for people; of the control characters, only line feeds stay. */
export function printableLines(string: string): string {
  return string.split('\n').map(printable).join('\n')
}

/** A string of one line for people. */
export function printable(string: string): string {
  return string.replace(UNPRINTABLE, (character) => {
    const short = JSON.stringify(character).slice(1, -1)
    return short === character ? escapeUnits(character) : short
  })
}

function escapeUnits(character: string): string {
  let escaped = ''
  for (let at = 0; at < character.length; at++) {
    escaped += `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`
  }
  return escaped
}
