import { NotSupportedError } from '../errors.js'
import { events } from '../events.js'
import type { Expiry } from '../record/expiry.js'
import {
  AS_GIVEN,
  anyObject,
  flag,
  type Option,
  option,
  readOptions,
  refuse
} from '../record/option.js'
import { checkPrincipal } from '../record/principal.js'
import type { SessionRecord } from '../record/record.js'
import { decodeValue } from '../record/value.js'
import { cookieLifetime, noteActivity } from '../session/activity.js'
import type { SessionData } from '../session/data.js'
import { recordsOf } from '../session/records-of.js'
import type { Registration } from '../session/registration.js'
import { checkExcept, findRecord, revoke, revokeAll } from '../session/revocation.js'
import { saveFollowing } from '../session/saving.js'
import { Session } from '../session/session.js'
import { UnitOfWork } from '../session/unit-of-work.js'
import type { BackupResult, LongOperation } from '../store/long-operation.js'
import { NO_STATS, type StoreStats } from '../store/stats.js'
import { elapsed } from '../timers.js'
import { type ExportOptions, exportSessions } from '../transfer/export.js'
import { type ImportResult, importSessions } from '../transfer/import.js'
import { type CookieAttributes, setCookieHeader } from './cookie/attributes.js'
import { decodeCookies, findLive } from './cookie/several.js'

/** What a list of sessions shows of one. */
export interface SessionInfo {
  /** Names the session without revealing its id: fit for a page and for {@link SessionManager.revoke}. */
  readonly handle: string
  readonly createdAt: Date
  readonly lastSeenAt: Date
  readonly expiresAt: Date
  /** What the application noted with `setPrincipal` or `session.metadata`. */
  readonly metadata: unknown
}

/** What {@link SessionManager.create} puts into a session. */
export interface NewSession {
  /** Whose session it is. Default nobody's. */
  principal?: string | null
  /** Session keys and their values. */
  data?: { [Key in keyof SessionData]?: SessionData[Key] } & { readonly [key: string]: unknown }
  /** Its own expiry. Default the registration's. */
  expiry?: Expiry
  /** What lists of the user's sessions show of it. */
  metadata?: unknown
}

/**
 * Sessions outside a request: `fastify.sessions`. Sessions are named by their handle, or by their
 * id where that is at hand.
 *
 * All methods throw `SLED_SESSION_STORE_UNAVAILABLE` if the store fails.
 */
export class SessionManager {
  readonly #registration: Registration
  readonly #cookie: CookieAttributes

  /** @internal */
  constructor(registration: Registration, cookie: CookieAttributes) {
    this.#registration = registration
    this.#cookie = cookie
  }

  /**
   * A user's sessions, the one last used first. Costs in proportion to their number.
   *
   * ```ts
   * const devices = await fastify.sessions.list(user.id)
   * ```
   */
  async list(principal: string): Promise<SessionInfo[]> {
    checkPrincipal(principal)
    const found: SessionInfo[] = []
    for await (const records of recordsOf(this.#registration.store, principal)) {
      found.push(...records.map(describe))
    }
    return found.sort((a, b) => b.lastSeenAt.getTime() - a.lastSeenAt.getTime())
  }

  /**
   * How many sessions a user has; without a principal, how many are stored, expired ones included.
   *
   * ```ts
   * const devices = await fastify.sessions.count(user.id)
   * ```
   */
  async count(principal?: string): Promise<number> {
    const { store } = this.#registration
    if (principal === undefined) return store.count()
    checkPrincipal(principal)
    let count = 0
    for await (const records of recordsOf(store, principal)) count += records.length
    return count
  }

  /**
   * Ends a session at once, for requests under way too.
   *
   * ```ts
   * await fastify.sessions.revoke(request.body.handle, { principal: request.session.principal })
   * ```
   *
   * @param options.principal ends it only if it is this user's: give it whenever the handle came
   *   from a page, so that nobody can end another's session. `null` or `undefined` given for it,
   *   as of a visitor who is not logged in, is nobody, who owns no session
   * @returns false if there is no such session
   */
  async revoke(
    handleOrId: string,
    options: { principal?: string | null | undefined } = {}
  ): Promise<boolean> {
    // One that is spelled wrong would end the session of whoever it is.
    readOptions({ principal: AS_GIVEN }, options)
    const owner = 'principal' in options ? (options.principal ?? null) : undefined
    return revoke(this.#registration, handleOrId, owner)
  }

  /**
   * Ends all of a user's sessions: after a new password, or for "log out everywhere".
   *
   * ```ts
   * await fastify.sessions.revokeAll(user.id, { except: request.session })
   * ```
   *
   * @param options.except the handle or id of one that stays, or a {@link Session}. If it is given,
   *   it must be a session of this user, so that one that has just ended does not take all others
   *   with it
   * @returns how many were ended
   * @throws `SLED_SESSION_EXCEPT_UNKNOWN` if `except` names none of this user's sessions, be it
   *   `null` or `undefined`; none is ended then
   */
  async revokeAll(
    principal: string,
    options: { except?: string | Session | null | undefined } = {}
  ): Promise<number> {
    readOptions({ except: AS_GIVEN }, options)
    checkPrincipal(principal)
    if ('except' in options) await checkExcept(this.#registration, principal, options.except)
    return revokeAll(this.#registration, principal, options.except)
  }

  /**
   * A session to read, or to change: what is set is stored by itself at the end of the turn, and
   * `await session.save()` says when. Looking at a session is not activity.
   *
   * ```ts
   * const session = await fastify.sessions.get(handle)
   * session?.set('plan', 'pro')
   * ```
   *
   * @returns `null` if there is no such session
   */
  async get(handleOrId: string): Promise<Session | null> {
    const record = await findRecord(this.#registration, handleOrId)
    return record === null ? null : new Session(this.#outside(record, null, false))
  }

  /**
   * Changes a session and resolves when that is stored. If its visitor gets a new id meanwhile,
   * what `fn` has changed is stored under that.
   *
   * ```ts
   * await fastify.sessions.update(handle, (session) => session.set('plan', 'pro'))
   * ```
   *
   * @returns false if there is no such session, or none any more when it was to be stored: it has
   *   ended, or is another user's by then. Nothing is changed then
   * @throws whatever `fn` throws
   */
  async update(handleOrId: string, fn: (session: Session) => unknown): Promise<boolean> {
    const record = await findRecord(this.#registration, handleOrId)
    if (record === null) return false
    const work = this.#outside(record, null, false)
    work.followRenewals()
    await fn(new Session(work))
    return saveFollowing(work)
  }

  /**
   * Makes a session without a request, and resolves when it is stored: for tests, and for logins
   * over another channel. It has its id; {@link cookieOf} gives its cookie.
   *
   * ```ts
   * const session = await fastify.sessions.create({ principal: 'ann' })
   * const cookie = fastify.sessions.cookieOf(session)
   * ```
   *
   * @throws as `set`, `setPrincipal` and `expiry` throw; nothing is stored then
   */
  async create(options: NewSession = {}): Promise<Session> {
    const { principal, data, expiry, metadata } = readOptions(NEW_SESSION, options)
    const work = new UnitOfWork(this.#registration, null, null, 'none')
    const session = new Session(work)
    work.beginEmpty()
    for (const [key, value] of Object.entries(data)) session.set(key, value)
    if (metadata !== undefined) session.metadata = metadata
    if (expiry !== undefined) session.expiry = expiry as Expiry
    if (principal !== null) await session.setPrincipal(principal as string, { renew: false })
    await session.save()
    work.close()
    return session
  }

  /**
   * The whole value of a Set-Cookie header for a session, in the registration's form: for a
   * response that the plugin does not send, as after `reply.hijack()`, and for tests. Save the
   * session first. One that has ended, or holds nothing, gives a cookie that clears the browser's.
   *
   * ```ts
   * reply.raw.setHeader('set-cookie', fastify.sessions.cookieOf(request.session))
   * ```
   *
   * @param options.secure whether it has Secure if the registration's `secure` is `auto`, as
   *   `request.protocol === 'https'` tells. Default true
   * @throws `SLED_SESSION_ID_UNKNOWN` on a session that was found by its handle
   */
  cookieOf(session: Session, options: { secure?: boolean } = {}): string {
    if (!(session instanceof Session)) refuse('session', 'must be a session of this registration')
    const given = readOptions({ secure: option(flag, true) }, options)
    const { secure: configured, form } = this.#cookie
    const secure = configured === 'auto' ? given.secure : configured
    const { id, expiry, expiresAt } = session
    if (id === null || expiresAt === null || session.isDestroyed) {
      return setCookieHeader(this.#cookie, '', 0, secure)
    }
    const lifetime = cookieLifetime({ expiry, expiresAt: expiresAt.getTime() }, this.#registration)
    return setCookieHeader(this.#cookie, form.encode(id), lifetime, secure)
  }

  /**
   * The session that a Cookie header names, for WebSocket upgrades, event streams and jobs. It
   * counts as activity. What is set is stored by itself; no cookie is sent.
   *
   * ```ts
   * const session = await fastify.sessions.load(upgrade.headers.cookie)
   * ```
   *
   * @returns `null` if the header names none
   */
  async load(cookieHeader: string | undefined): Promise<Session | null> {
    const decoded = decodeCookies(cookieHeader ?? '', this.#cookie)
    if (decoded === null) return null
    const found = await findLive(this.#registration.store, [decoded].flat())
    if (typeof found === 'string') return null
    return new Session(this.#outside(found.record, found.cookie.id, true))
  }

  /**
   * Deletes the sessions that are past their time, at once instead of at the next `reapInterval`.
   * Runs never overlap: a call during a run gets that run's result.
   *
   * ```ts
   * const deleted = await fastify.sessions.deleteExpired()
   * ```
   *
   * @param options.onProgress told after each batch how many it is so far
   * @returns how many were deleted
   */
  async deleteExpired(options: { onProgress?: (deleted: number) => void } = {}): Promise<number> {
    const { store, log, sessionName, touches } = this.#registration
    const { onProgress } = options
    let failure: { error: unknown } | null = null
    // The run may be shared with others, whom an error of this listener does not concern.
    const report = (deleted: number): void => {
      try {
        if (failure === null) onProgress?.(deleted)
      } catch (error) {
        failure = { error }
      }
    }
    // The store goes by the deadlines that it knows.
    await touches.settled()
    const start = elapsed()
    const deleted = await store.deleteExpired(report)
    const milliseconds = Math.round(elapsed() - start)
    events.reaped.publish({ sessionName, deleted })
    log[deleted > 0 ? 'info' : 'debug']({ deleted, milliseconds }, 'expired sessions were deleted')
    if (failure !== null) throw (failure as { error: unknown }).error
    return deleted
  }

  /**
   * What the store tells about itself: sessions, bytes, cache, writes, reaper. It costs some file
   * look-ups and a read of 256 keys, however many sessions there are.
   *
   * ```ts
   * const { sessions, diskBytes } = await fastify.sessions.stats()
   * ```
   */
  async stats(): Promise<StoreStats> {
    const { store } = this.#registration
    return (await store.stats?.()) ?? NO_STATS
  }

  /**
   * Backs up all sessions, as they are at this moment, while requests go on. The folder becomes a
   * database like the live one, quarantine included; a later backup to the same folder writes only
   * what has changed. Half a backup is recognised: neither a restore nor a server takes it for a
   * whole one, and the next backup to the folder completes it.
   *
   * ```ts
   * await fastify.sessions.backup('./backup')
   * ```
   *
   * @param folder a new or empty one, or one that holds an earlier backup
   * @throws `SLED_SESSION_BACKUP_UNUSABLE` if it holds anything else,
   *   `SLED_SESSION_NOT_SUPPORTED` if the store has no files of its own
   */
  async backup(folder: string, options?: LongOperation): Promise<BackupResult> {
    const { store, touches } = this.#registration
    if (store.backup === undefined) {
      throw new NotSupportedError(
        'back itself up',
        'Use export(), or what its server has for that.'
      )
    }
    await touches.settled()
    return store.backup(folder, options)
  }

  /**
   * All sessions as NDJSON, one a line, in pieces: a source for `pipeline()`. It holds the
   * data of every session.
   *
   * ```ts
   * await pipeline(fastify.sessions.export(), createWriteStream('sessions.jsonl'))
   * ```
   */
  export(options?: ExportOptions): AsyncGenerator<string> {
    const pieces = exportSessions(this.#registration.store, options)
    return this.#afterTouches(pieces)
  }

  async *#afterTouches(pieces: AsyncGenerator<string>): AsyncGenerator<string> {
    await this.#registration.touches.settled()
    yield* pieces
  }

  /**
   * Stores the sessions of an export, in the place of those with the same handle. Run it again if
   * it stopped. Whoever may import can log in as anyone: let nobody else give you an export.
   *
   * ```ts
   * await fastify.sessions.import(createReadStream('sessions.jsonl'))
   * ```
   *
   * @param source an export, in pieces: a file stream, a request's body
   * @throws `SLED_SESSION_IMPORT_REFUSED` naming the first line that is wrong
   */
  import(
    source: AsyncIterable<string | Uint8Array>,
    options?: LongOperation
  ): Promise<ImportResult> {
    const { store, now, maxRecordSize } = this.#registration
    return importSessions(store, source, { ...options, maxRecordSize, now })
  }

  #outside(record: SessionRecord, id: string | null, active: boolean): UnitOfWork {
    const registration = active ? this.#registration : { ...this.#registration, rolling: false }
    if (registration.rolling) noteActivity(record, registration)
    const work = new UnitOfWork(registration, record, id, 'none')
    work.close()
    return work
  }
}

const NEW_SESSION = {
  principal: option(AS_GIVEN.read, null),
  data: option(anyObject, {}),
  expiry: AS_GIVEN,
  metadata: AS_GIVEN
} satisfies Record<keyof NewSession, Option<unknown>>

function describe(record: SessionRecord): SessionInfo {
  return {
    handle: record.handle,
    createdAt: new Date(record.createdAt),
    lastSeenAt: new Date(record.lastSeenAt),
    expiresAt: new Date(record.expiresAt),
    metadata: record.metadata === null ? undefined : decodeValue(record.metadata)
  }
}
