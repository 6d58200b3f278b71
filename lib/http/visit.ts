import { inspect } from 'node:util'
import type { FastifyReply } from 'fastify'
import type { SessionRecord } from '../record/record.js'
import type { Session } from '../session/session.js'
import type { UnitOfWork } from '../session/unit-of-work.js'

/**
 * What one request has of its session. Most requests of a busy site only show that their visitor
 * is still there, so no more than this is made before somebody asks for the session.
 */
export class Visit {
  readonly reply: FastifyReply
  /** Found in the store, but not yet asked for. */
  record: SessionRecord | null = null
  id: string | null = null
  /** Whether the cookie was written under an old key. */
  stale = false
  work: UnitOfWork | null = null
  session: Session | null = null
  /** Somebody listens to the close of the response. */
  listened = false
  /** The response is out, or will never be. */
  closed = false
  /** What the response promised could not be stored; the error page in its place promises nothing. */
  failed = false

  constructor(reply: FastifyReply) {
    this.reply = reply
  }

  /** A request that is printed shows it, and with it would show the id. */
  [inspect.custom](): string {
    return 'Visit'
  }
}
