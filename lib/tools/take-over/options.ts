import { cookieDomain, cookieName, cookiePath } from '../../http/cookie/attributes.js'
import { FASTIFY_OPTIONS } from '../../http/options.js'
import {
  anyFunction,
  type Checked,
  type Option,
  option,
  optional,
  readOptions,
  refuse,
  string
} from '../../record/option.js'

/** A store of express-session or @fastify/session, such as connect-redis. */
export interface FormerStore {
  get(sid: string, callback: (error: unknown, session?: object | null) => void): unknown
  destroy(sid: string, callback: (error?: unknown) => void): unknown
}

/** Options of `takeOver`. */
export interface TakeOverOptions {
  /** Where the former sessions are. */
  from: FormerStore
  /** The former secrets; each is tried. Without a valid signature a cookie is nothing. */
  secrets: readonly string[]
  /** The former cookie: `sessionId` for @fastify/session, `connect.sid` for express-session. */
  cookieName: string
  /** Its `Path` and `Domain`, to delete it. Default `/` and none. */
  cookiePath?: string
  cookieDomain?: string
  /** From then on former cookies are nothing: at most their longest lifetime from now. */
  until: Date
  /** Whose session this is, so that lists and "log out everywhere" know it. Default nobody's. */
  principal?: (data: Readonly<Record<string, unknown>>) => string | null | undefined
  /**
   * Whether a former session, read and not expired, may be taken over; `false` ends it. For what
   * this plugin cannot know: whether a "log out everywhere" since has ended it. Default: each may.
   */
  accept?: (data: Readonly<Record<string, unknown>>) => boolean | Promise<boolean>
  /** As the option of the plugin. Default `session`. */
  sessionName?: string
}

type Who = NonNullable<TakeOverOptions['principal']>
type Accept = NonNullable<TakeOverOptions['accept']>

const OPTIONS = {
  from: { read: formerStore },
  secrets: { read: formerSecrets },
  cookieName: { read: cookieName },
  cookiePath: option(cookiePath, '/'),
  cookieDomain: optional(cookieDomain, undefined),
  until: { read: endOfTransition },
  principal: optional<Who, undefined>(anyFunction, undefined),
  accept: optional<Accept, undefined>(anyFunction, undefined),
  sessionName: option(string, 'session')
} satisfies Record<keyof TakeOverOptions, Option<unknown>>

export type CheckedTakeOver = Checked<typeof OPTIONS>

/** @throws {InvalidOptionError} naming the first option that is missing, unknown or wrong */
export function checkTakeOver(given: TakeOverOptions): CheckedTakeOver {
  return readOptions(OPTIONS, given, { foreign: FASTIFY_OPTIONS })
}

function formerStore(value: unknown, name: string): FormerStore {
  const problem = 'must be a store of express-session or @fastify/session'
  if (typeof value !== 'object' || value === null) refuse(name, problem)
  const store = value as FormerStore
  if (typeof store.get !== 'function' || typeof store.destroy !== 'function') refuse(name, problem)
  return store
}

function formerSecrets(value: unknown, name: string): readonly string[] {
  const isSecret = (secret: unknown): boolean => typeof secret === 'string' && secret !== ''
  if (!Array.isArray(value) || value.length === 0 || !value.every(isSecret)) {
    refuse(name, 'must be the list of the former secrets')
  }
  return value as string[]
}

function endOfTransition(value: unknown, name: string): Date {
  if (!(value instanceof Date) || Number.isNaN(value.getTime())) {
    refuse(name, 'must be a date: a transition has an end')
  }
  return value
}
