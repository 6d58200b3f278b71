/** A name for the list of devices, such as "Firefox on Linux". */
export function deviceName(userAgent = ''): string {
  const browser = find(userAgent, ['Edg', 'Firefox', 'Chrome', 'Safari'])
  const system = find(userAgent, ['Android', 'iPhone', 'iPad', 'Windows', 'Mac OS X', 'Linux'])
  return `${browser ?? 'A browser'} on ${system ?? 'a device'}`.replace('Edg ', 'Edge ')
}

/** The order decides: Edge says that it is Chrome too, and Android that it is Linux. */
function find(userAgent: string, names: readonly string[]): string | undefined {
  return names.find((name) => userAgent.includes(name))
}
