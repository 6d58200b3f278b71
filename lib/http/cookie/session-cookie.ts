import type { FastifyReply, FastifyRequest } from 'fastify'
import { cookieLifetime } from '../../session/activity.js'
import { conclude } from '../../session/response.js'
import type { UnitOfWork } from '../../session/unit-of-work.js'
import { type CookieAttributes, setCookieHeader } from './attributes.js'
import { keepFromSharedCaches } from './caching.js'

/** Has a response tell the browser what it must know of its session. */
export function sendCookie(
  work: UnitOfWork,
  request: FastifyRequest,
  reply: FastifyReply,
  { cookie, noStore }: { readonly cookie: CookieAttributes; readonly noStore: boolean }
): void {
  const action = conclude(work)
  if (action === 'none') return
  const { registration } = work
  const secure = cookie.secure === 'auto' ? request.protocol === 'https' : cookie.secure
  if (secure && request.protocol !== 'https') {
    registration.warnOnce(
      { cookie: cookie.name },
      'a Secure session cookie was sent over plain http, and browsers will not send it back except to localhost. Serve https; behind a proxy that ends TLS set Fastify\'s trustProxy; for development set secure: "auto"'
    )
  }
  const { id, record } = work
  const header =
    action === 'clear' || record === null
      ? setCookieHeader(cookie, '', 0, secure)
      : setCookieHeader(
          cookie,
          cookie.form.encode(id as string),
          cookieLifetime(record, registration),
          secure
        )
  reply.header('set-cookie', header)
  if (!noStore) return
  keepFromSharedCaches(reply, (directives) =>
    registration.warnOnce(
      { cacheControl: directives, route: request.routeOptions.url },
      'a hook set Cache-Control after the session cookie, and a shared cache might have served that cookie to others: the response left with no-store. Set it in the handler, or leave it'
    )
  )
}
