/**
 * Whether a browser sends a cookie of this path to this URL (RFC 6265bis, section 5.1.4). A
 * cookie that is set elsewhere would take the place of the one that the browser has.
 */
export function isWithin(cookiePath: string, url: string): boolean {
  // A URL in absolute form is a proxy's; what it stands for cannot be told.
  if (cookiePath === '/' || !url.startsWith('/')) return true
  if (!url.startsWith(cookiePath)) return false
  const next = url.charAt(cookiePath.length)
  return cookiePath.endsWith('/') || next === '' || next === '/' || next === '?'
}
