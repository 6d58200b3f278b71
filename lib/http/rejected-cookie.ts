import type { FastifyRequest } from 'fastify'
import { announce, events, type RejectionReason } from '../events.js'
import { handleOf, shortHandle } from '../record/handle.js'
import type { SessionRecord } from '../record/record.js'
import type { Registration } from '../session/registration.js'
import type { CookieAttributes } from './cookie/attributes.js'
import { findCookies } from './cookie/header.js'

/** Whether anybody wants to know why a request got no session: finding out is extra work. */
export function isExplained(request: FastifyRequest): boolean {
  const { level } = request.log
  return (
    level === 'debug' ||
    level === 'trace' ||
    events.rejected.hasSubscribers ||
    events.expired.hasSubscribers
  )
}

/** Says why the cookie of this request was not even looked up, if it has one. */
export function explainUnread(
  request: FastifyRequest,
  { sessionName }: Registration,
  { name, form }: CookieAttributes,
  value: string | null
): void {
  let reason: RejectionReason
  if (value !== null) reason = form.resembles(value) ? 'unauthentic' : 'malformed'
  else if (findCookies(request.raw.headers.cookie ?? '', name).length > 1) reason = 'ambiguous'
  else return
  refuse(request, sessionName, name, reason)
}

/** Says that several cookies of this request are live sessions. */
export function explainAmbiguous(
  request: FastifyRequest,
  { sessionName }: Registration,
  { name }: CookieAttributes
): void {
  refuse(request, sessionName, name, 'ambiguous')
}

function refuse(
  request: FastifyRequest,
  sessionName: string,
  cookie: string,
  reason: RejectionReason
): void {
  request.log.debug({ cookie, reason }, `the session cookie was refused: ${WORDS[reason]}`)
  events.rejected.publish({ sessionName, reason })
}

/** Says why a well-formed id gave no session. Never rejects. */
export async function explainMiss(
  request: FastifyRequest,
  { sessionName, store }: Registration,
  id: string
): Promise<void> {
  const handle = handleOf(id)
  const session = shortHandle(handle)
  let stored: SessionRecord | null
  try {
    stored = await store.read(handle)
  } catch {
    // The request goes on without a session either way; a wrong reason would be worse than none.
    return
  }
  // What is stored and was not handed out is past its time.
  if (stored !== null) {
    request.log.debug({ session }, 'the session is past its time')
    announce(events.expired, sessionName, handle)
    return
  }
  request.log.debug({ session, reason: 'unknown' }, `the session is unknown: ${WORDS.unknown}`)
  events.rejected.publish({ sessionName, reason: 'unknown' })
}

const WORDS: Record<RejectionReason, string> = {
  ambiguous: 'the request has several of its name, so one of them may be planted',
  malformed: 'its value is nothing that is written here',
  unauthentic: 'it was written with none of the keys, or tampered with',
  unknown:
    'it was destroyed, revoked, renewed or quarantined, was deleted after its time, or never existed'
}
