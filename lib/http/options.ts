import { InvalidOptionError } from '../errors.js'
import { checkedExpiry, type Duration, type Expiry, onSessionEnd } from '../record/expiry.js'
import {
  anyObject,
  bytes,
  type Checked,
  clock,
  duration,
  flag,
  interval,
  type Option,
  option,
  optional,
  readOptions,
  refuse
} from '../record/option.js'
import type { StoreOptions } from '../store/open-store.js'
import type { Durability } from '../store/rocksdb/rocksdb-store.js'
import type { SessionStore } from '../store/session-store.js'
import {
  columnFamily,
  database,
  durability,
  folder,
  lockTimeout,
  memory,
  sessionStore,
  storeTimeout
} from '../store/store-options.js'
import { now } from '../timers.js'
import {
  type CookieAttributes,
  type CookieOptions,
  checkCookieOptions,
  type SecureOption
} from './cookie/attributes.js'

/** Options of the plugin. Exactly one of `path`, `db` and `store` says where sessions are kept. */
export interface SledSessionOptions {
  /** A folder for a RocksDB database of our own; made if it does not exist. */
  path?: string
  /**
   * A `rocksdb-native` database that the application has open, and closes itself after Fastify.
   * Name the column family when you open it.
   */
  db?: object
  /** Any other {@link SessionStore}; opened and closed with Fastify. */
  store?: SessionStore
  /** The column family that holds the sessions. Default `session`. */
  columnFamily?: string
  /**
   * What an acknowledged write survives. `process`, the default: the end of the process, kill -9
   * included. `power`: also a power loss, at the price of one fdatasync for each group of writes.
   */
  durability?: Durability
  /**
   * How long to wait for another process that holds the database in `path`, as the one before a
   * restart does until it has ended; 0 for not at all. Default 5 s. Fastify's `pluginTimeout`,
   * 10 s by default, must be longer.
   */
  lockTimeout?: Duration | number
  /**
   * How long a store may take to answer before the request gets a 503, whichever store it is.
   * Default 5 s.
   */
  storeTimeout?: Duration | number
  /** The property of the request; the manager on the instance has an `s` behind it. Default `session`. */
  sessionName?: string
  /** Whether the cookie has Secure. Default true; `auto` follows the request's protocol. */
  secure?: SecureOption
  /** The other attributes of the cookie. */
  cookie?: CookieOptions
  /** When sessions expire. Default {@link onSessionEnd}. */
  expiry?: Expiry
  /** How long the server keeps a session-end session without a request. Default 14 days. */
  sessionEndLimit?: Duration | number
  /** The longest life of a session, whatever its activity. Default none. */
  absoluteTimeout?: Duration | number
  /** Whether a request that changes nothing counts as activity. Default true. */
  rolling?: boolean
  /** Whether each response of a session stores it and sends the cookie. Default false. */
  alwaysSave?: boolean
  /** Whether a visitor gets a session before anything is set. Default false. */
  saveUninitialized?: boolean
  /**
   * Whether what a handler has set is stored though the response is a 5xx. Default true; what was
   * saved, destroyed or renewed explicitly stays so.
   */
  saveOnError?: boolean
  /**
   * How far a deadline may move before it is stored, which no response waits for. Default a tenth of
   * the lifetime, at most 60 s.
   */
  touchInterval?: Duration | number
  /** How often expired sessions are deleted; `false` for never. Default 60 s. */
  reapInterval?: Duration | number | false
  /** Whether responses that set the cookie say `Cache-Control: no-store`. Default true. */
  noStore?: boolean
  /** Whether responses whose handler read or wrote the session say `Vary: Cookie`. Default true. */
  vary?: boolean
  /** The most that one session may hold, in bytes of UTF-8. Default 65,536. */
  maxRecordSize?: number
  /** Memory for the store in all, in bytes: live records and memtables. Default 96 MiB. */
  memory?: number
  /**
   * The clock, in ms since 1970, for tests. Default the clock of the process, which fake timers do
   * not move: to have them move it, give `() => Date.now()`.
   */
  now?: () => number
}

const MIB = 1024 * 1024

/** Each option, its check and its default: all that is known of it, but what its pages say. */
const OPTIONS = {
  path: optional(folder, undefined),
  db: optional(database, undefined),
  store: optional(sessionStore, undefined),
  columnFamily,
  durability: option(durability, 'process'),
  lockTimeout: option(lockTimeout, { seconds: 5 }),
  storeTimeout,
  sessionName: option(sessionName, 'session'),
  secure: option(secure, true),
  cookie: option(anyObject, {}),
  expiry: option(expiry, onSessionEnd()),
  sessionEndLimit: option(duration(), { days: 14 }),
  absoluteTimeout: optional(duration(), null),
  rolling: option(flag, true),
  alwaysSave: option(flag, false),
  saveUninitialized: option(flag, false),
  saveOnError: option(flag, true),
  touchInterval: optional(duration(), null),
  reapInterval: option(interval, { seconds: 60 }),
  noStore: option(flag, true),
  vary: option(flag, true),
  maxRecordSize: option(bytes(256, 16 * MIB), 65_536),
  memory: option(memory, 96 * MIB),
  now: option(clock, now)
} satisfies Record<keyof SledSessionOptions, Option<unknown>>

type Place = 'path' | 'db' | 'store' | 'columnFamily' | 'durability' | 'lockTimeout'

/** The options with everything checked and every default filled in. */
export type CheckedOptions = Omit<Checked<typeof OPTIONS>, Place | 'secure' | 'cookie'> & {
  readonly storeOptions: StoreOptions
  readonly cookie: CookieAttributes
}

/** Options of `register` itself, which Fastify hands to plugins as well. */
export const FASTIFY_OPTIONS = ['prefix', 'logLevel', 'logSerializers'] as const

const NAMING = {
  foreign: FASTIFY_OPTIONS,
  hints: {
    secret:
      'an id is random and needs none; to sign the cookie, use cookie.signed with a list of keys',
    salt: 'it derived a key from a secret; use cookie.encrypted with a list of keys',
    key: 'use cookie.encrypted with a list of keys',
    cookieName: 'use cookie.name',
    cookieOptions: 'use cookie',
    maxAge: 'use expiry: onInactivity(…)',
    ttl: 'use expiry: onInactivity(…)',
    resave: 'use alwaysSave; what changes is stored in any case',
    idGenerator: 'ids are 256 random bits',
    genid: 'ids are 256 random bits',
    proxy: "use Fastify's trustProxy"
  }
}

/** @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` naming the first option that is wrong */
export function checkOptions(given: SledSessionOptions): CheckedOptions {
  checkPlace(given)
  const { path, db, store, secure, cookie, ...more } = readOptions(OPTIONS, given, NAMING)
  const { columnFamily, durability, lockTimeout, ...rest } = more
  checkTouchInterval(rest)
  let storeOptions: StoreOptions
  if (store !== undefined) storeOptions = { kind: 'store', store }
  else if (db !== undefined) storeOptions = { kind: 'db', db, columnFamily, durability }
  else storeOptions = { kind: 'path', path: path as string, columnFamily, durability, lockTimeout }
  return { ...rest, storeOptions, cookie: checkCookieOptions(cookie as CookieOptions, secure) }
}

/** Exactly one place, and nothing that belongs to another. */
function checkPlace(given: SledSessionOptions): void {
  const places = [given.path, given.db, given.store].filter((place) => place !== undefined)
  if (places.length !== 1) {
    throw new InvalidOptionError(
      'path',
      places.length === 0
        ? 'is missing: give a folder as "path", an open database as "db", or a "store"'
        : 'cannot stand beside "db" or "store": give exactly one of the three'
    )
  }
  for (const option of ['columnFamily', 'durability'] as const) {
    if (given.store === undefined || given[option] === undefined) continue
    throw new InvalidOptionError(option, 'goes with "path" or "db", not with "store"')
  }
  if (given.lockTimeout !== undefined && given.path === undefined) {
    throw new InvalidOptionError('lockTimeout', 'goes with "path" alone')
  }
}

/** Activity that is stored later than the session runs out would not keep it alive. */
function checkTouchInterval({
  touchInterval,
  expiry,
  sessionEndLimit
}: Pick<CheckedOptions, 'touchInterval' | 'expiry' | 'sessionEndLimit'>): void {
  if (touchInterval === null || expiry.kind === 'date-time') return
  const lifetime = expiry.kind === 'inactivity' ? expiry.milliseconds : sessionEndLimit
  if (touchInterval < lifetime) return
  refuse('touchInterval', `must be shorter than the lifetime of a session, ${lifetime} ms`)
}

const RESERVED_NAMES = new Set([
  'id',
  'raw',
  'body',
  'query',
  'params',
  'headers',
  'log',
  'cookies'
])

function sessionName(value: unknown, name: string): string {
  if (typeof value !== 'string' || !/^[A-Za-z_$][\w$]*$/.test(value) || RESERVED_NAMES.has(value)) {
    refuse(name, 'must be an identifier that Fastify does not use')
  }
  return value
}

function secure(value: unknown, name: string): SecureOption {
  if (value !== 'auto' && typeof value !== 'boolean') {
    refuse(name, 'must be true, false or "auto"')
  }
  return value
}

function expiry(value: unknown, name: string): Expiry {
  try {
    return checkedExpiry(value)
  } catch (error) {
    return refuse(name, `is wrong: ${(error as Error).message}`)
  }
}
