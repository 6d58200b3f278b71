import type { ServerResponse } from 'node:http'
import type { FastifyReply } from 'fastify'

/** Says that the response differs with the cookies of its request. */
export function varyByCookie(reply: FastifyReply): void {
  const present = reply.getHeader('vary')
  const names = String(present ?? '')
  if (names === '') reply.header('vary', 'Cookie')
  else if (!/(?:^|,)\s*(?:cookie|\*)\s*(?:,|$)/i.test(names)) {
    reply.header('vary', `${names}, Cookie`)
  }
}

/**
 * Keeps a response that sets the session cookie out of shared caches: one that serves a visitor's
 * cookie to others logs them in as him. A hook that runs later may set the header anew, so what
 * counts is what leaves.
 *
 * @param overruled told what a later hook has asked for
 */
export function keepFromSharedCaches(
  reply: FastifyReply,
  overruled: (directives: string) => void
): void {
  if (!isPrivate(reply.getHeader('cache-control'))) reply.header('cache-control', 'no-store')
  const { raw } = reply
  const { writeHead } = raw
  raw.writeHead = function writeHeadChecked(this: ServerResponse, ...args: unknown[]) {
    const headers = args.at(-1)
    const given = isHeaders(headers) ? headers['cache-control'] : undefined
    const directives = given ?? raw.getHeader('cache-control')
    if (!isPrivate(directives)) {
      overruled(String(directives ?? ''))
      if (isHeaders(headers)) headers['cache-control'] = 'no-store'
      else raw.setHeader('cache-control', 'no-store')
    }
    return (writeHead as (...args: unknown[]) => ServerResponse).apply(this, args)
  } as ServerResponse['writeHead']
}

function isHeaders(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isPrivate(directives: unknown): boolean {
  // What nearly all have needs no parsing: nothing yet, and then what is set here.
  if (directives === undefined) return false
  if (directives === 'no-store') return true
  const list = String(directives).split(',')
  return list.some((directive) => /^\s*(?:no-store|private)\s*$/i.test(directive))
}
