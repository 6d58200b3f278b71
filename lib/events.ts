import { channel } from 'node:diagnostics_channel'
import { shortHandle } from './record/handle.js'

/** What happened to one session. */
export interface SessionEvent {
  /** The registration that it belongs to: its `sessionName`. */
  readonly sessionName: string
  /**
   * The first eight characters of the session's handle, as log lines have it: enough to follow
   * one session, too little to reach it.
   */
  readonly session: string
}

/** Why a session cookie gave its request no session; see {@link SessionEvents.rejected}. */
export type RejectionReason = 'ambiguous' | 'malformed' | 'unauthentic' | 'unknown'

/**
 * What is published on the channels `fastify-sled-session:<event>` of `node:diagnostics_channel`.
 * No event holds an id, a cookie, a user or data. Subscribers are called synchronously, so they
 * are to be quick; one that throws ends the process, as Node has it. Without subscribers an event
 * costs a look at the channel.
 *
 * ```ts
 * import { subscribe } from 'node:diagnostics_channel'
 * import type { SessionEvents } from 'fastify-sled-session'
 *
 * subscribe('fastify-sled-session:created', (message) => {
 *   const { session } = message as SessionEvents['created']
 * })
 * ```
 */
export interface SessionEvents {
  /** A new session is stored for the first time, durably. */
  readonly created: SessionEvent
  /** A request came with a valid session. */
  readonly loaded: SessionEvent
  /**
   * Changes of a session that existed before are durable; or a move of its deadline, which is
   * stored up to a second after the response.
   */
  readonly saved: SessionEvent
  /** A request ended its own session. */
  readonly destroyed: SessionEvent
  /** A session got a new id, at a login or by `regenerate`; `session` is the new one. */
  readonly regenerated: SessionEvent & { readonly previous: string }
  /** A session was ended through `fastify.sessions`. */
  readonly revoked: SessionEvent
  /** A request came with a session that is past its time and not deleted yet. */
  readonly expired: SessionEvent
  /**
   * A request came with a session cookie that gave it no session. `ambiguous`: it has several of
   * the name. `malformed`: the value is nothing that is written here. `unauthentic`: signed or
   * encrypted with none of the keys. `unknown`: no such session is stored (any more).
   */
  readonly rejected: { readonly sessionName: string; readonly reason: RejectionReason }
  /** A run of the reaper has deleted so many expired sessions, which may be none. */
  readonly reaped: { readonly sessionName: string; readonly deleted: number }
  /** A stored record did not decode and was put aside. */
  readonly quarantined: SessionEvent
  /** The store could not do something; whoever asked for it got this error, or the log if nobody waits. */
  readonly 'store-error': {
    readonly sessionName: string
    /** Such as `load a session`. */
    readonly operation: string
    readonly error: Error
  }
}

export const events = {
  created: channelOf('created'),
  loaded: channelOf('loaded'),
  saved: channelOf('saved'),
  destroyed: channelOf('destroyed'),
  regenerated: channelOf('regenerated'),
  revoked: channelOf('revoked'),
  expired: channelOf('expired'),
  rejected: channelOf('rejected'),
  reaped: channelOf('reaped'),
  quarantined: channelOf('quarantined'),
  storeError: channelOf('store-error')
}

/** A channel that takes one kind of message. */
interface EventChannel<Message> {
  readonly hasSubscribers: boolean
  publish(message: Message): void
}

function channelOf<Name extends keyof SessionEvents>(
  name: Name
): EventChannel<SessionEvents[Name]> {
  return channel(`fastify-sled-session:${name}`)
}

/** Publishes an event of one session; makes nothing if nobody listens. */
export function announce(
  event: EventChannel<SessionEvent>,
  sessionName: string,
  handle: string
): void {
  if (event.hasSubscribers) event.publish({ sessionName, session: shortHandle(handle) })
}
