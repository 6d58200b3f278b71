import { isProxy } from 'node:util/types'
import { InvalidOptionError } from '../errors.js'
import {
  checkExpiry,
  type Duration,
  type Expiry,
  onSessionEnd,
  toMilliseconds
} from '../record/expiry.js'
import type { Storage } from '../store/open-store.js'
import type { Durability } from '../store/rocksdb/rocksdb-store.js'
import type { SessionStore } from '../store/session-store.js'
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
  /** How far a deadline may move before it is stored. Default a tenth of the lifetime, at most 60 s. */
  touchInterval?: Duration | number
  /** How often expired sessions are deleted; `false` for never. Default 60 s. */
  reapInterval?: Duration | number | false
  /** Whether responses that set the cookie say `Cache-Control: no-store`. Default true. */
  noStore?: boolean
  /** Whether responses whose handler read or wrote the session say `Vary: Cookie`. Default true. */
  vary?: boolean
  /** The most that one session may hold, in bytes of UTF-8. Default 65,536. */
  maxRecordSize?: number
  /** Memory for the store in all, in bytes: live records and memtables. Default 64 MiB. */
  memory?: number
  /**
   * The clock, in ms since 1970, for tests. Default the clock of the process, which fake timers do
   * not move: to have them move it, give `() => Date.now()`.
   */
  now?: () => number
}

/** The options with everything checked and every default filled in. */
export interface CheckedOptions {
  readonly storage: Storage
  readonly sessionName: string
  readonly cookie: CookieAttributes
  readonly expiry: Expiry
  readonly sessionEndLimit: number
  readonly absoluteTimeout: number | null
  readonly rolling: boolean
  readonly alwaysSave: boolean
  readonly saveUninitialized: boolean
  readonly touchInterval: number | null
  readonly reapInterval: number | null
  readonly noStore: boolean
  readonly vary: boolean
  readonly maxRecordSize: number
  readonly memory: number
  readonly now: () => number
}

const KNOWN = new Set<string>([
  'path',
  'db',
  'store',
  'columnFamily',
  'durability',
  'sessionName',
  'secure',
  'cookie',
  'expiry',
  'sessionEndLimit',
  'absoluteTimeout',
  'rolling',
  'alwaysSave',
  'saveUninitialized',
  'touchInterval',
  'reapInterval',
  'noStore',
  'vary',
  'maxRecordSize',
  'memory',
  'now',
  // Fastify's own, which it hands to plugins as well.
  'prefix',
  'logLevel',
  'logSerializers'
] satisfies (keyof SledSessionOptions | 'prefix' | 'logLevel' | 'logSerializers')[])

const DEFAULT_SESSION_END_LIMIT = { days: 14 }
const DEFAULT_REAP_INTERVAL = { seconds: 60 }
const LONGEST_TIMER = 2 ** 31 - 1
const MIB = 1024 * 1024

/** @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` naming the first option that is wrong */
export function checkOptions(options: SledSessionOptions): CheckedOptions {
  for (const name of Object.keys(options)) {
    if (!KNOWN.has(name)) throw new InvalidOptionError(name, 'is not known; see the README')
  }
  const secure = options.secure ?? true
  if (secure !== 'auto') boolean('secure', secure, true)
  const reapInterval = options.reapInterval ?? DEFAULT_REAP_INTERVAL
  return {
    storage: checkStorage(options),
    sessionName: checkSessionName(options.sessionName ?? 'session'),
    cookie: checkCookieOptions(object('cookie', options.cookie ?? {}), secure),
    expiry: checkedExpiry(options.expiry ?? onSessionEnd()),
    sessionEndLimit: duration(
      'sessionEndLimit',
      options.sessionEndLimit ?? DEFAULT_SESSION_END_LIMIT
    ),
    absoluteTimeout: optionalDuration('absoluteTimeout', options.absoluteTimeout),
    rolling: boolean('rolling', options.rolling, true),
    alwaysSave: boolean('alwaysSave', options.alwaysSave, false),
    saveUninitialized: boolean('saveUninitialized', options.saveUninitialized, false),
    touchInterval: optionalDuration('touchInterval', options.touchInterval),
    reapInterval:
      reapInterval === false
        ? null
        : duration('reapInterval', reapInterval, LONGEST_TIMER, 'or false'),
    noStore: boolean('noStore', options.noStore, true),
    vary: boolean('vary', options.vary, true),
    maxRecordSize: bytes('maxRecordSize', options.maxRecordSize ?? 65_536, 256, 16 * MIB),
    memory: bytes('memory', options.memory ?? 64 * MIB, MIB, Number.MAX_SAFE_INTEGER),
    now: checkClock(options.now ?? now)
  }
}

function checkStorage(options: SledSessionOptions): Storage {
  const { path, db, store } = options
  const given = [path, db, store].filter((place) => place !== undefined)
  if (given.length !== 1) {
    throw new InvalidOptionError(
      'path',
      given.length === 0
        ? 'is missing: give a folder as "path", an open database as "db", or a "store"'
        : 'cannot stand beside "db" or "store": give exactly one of the three'
    )
  }
  const columnFamily = options.columnFamily ?? 'session'
  if (typeof columnFamily !== 'string' || columnFamily === '' || columnFamily.includes('\0')) {
    throw new InvalidOptionError('columnFamily', 'must be a name')
  }
  const durability = options.durability ?? 'process'
  if (durability !== 'process' && durability !== 'power') {
    throw new InvalidOptionError('durability', 'must be "process" or "power"')
  }
  if (store !== undefined) {
    for (const option of ['columnFamily', 'durability'] as const) {
      if (options[option] === undefined) continue
      throw new InvalidOptionError(option, 'goes with "path" or "db", not with "store"')
    }
    return { kind: 'store', store: checkStore(store) }
  }
  if (db !== undefined) return { kind: 'db', db: checkDatabase(db), columnFamily, durability }
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new InvalidOptionError('path', 'must be the name of a folder')
  }
  return { kind: 'path', path, columnFamily, durability }
}

function checkStore(store: SessionStore): SessionStore {
  const methods: (keyof SessionStore)[] = ['open', 'create', 'load', 'loadByHandle', 'read']
  methods.push('release', 'save', 'replace', 'destroy', 'handlesOf', 'count')
  methods.push('records', 'putRecords', 'deleteExpired', 'close')
  const lacks = methods.find((method) => typeof object('store', store)[method] !== 'function')
  if (lacks !== undefined) {
    throw new InvalidOptionError('store', `must be a SessionStore, but has no method ${lacks}()`)
  }
  return store
}

// The binding aborts the process on arguments of the wrong type, so look before calling.
function checkDatabase(db: object): object {
  const { columnFamily, ready, write } = object('db', db) as Record<string, unknown>
  const methods = [columnFamily, ready, write]
  if (isProxy(db) || methods.some((method) => typeof method !== 'function')) {
    throw new InvalidOptionError('db', 'must be an open database of rocksdb-native')
  }
  return db
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

function checkSessionName(name: string): string {
  if (typeof name !== 'string' || !/^[A-Za-z_$][\w$]*$/.test(name) || RESERVED_NAMES.has(name)) {
    throw new InvalidOptionError('sessionName', 'must be an identifier that Fastify does not use')
  }
  return name
}

function checkedExpiry(expiry: Expiry): Expiry {
  try {
    checkExpiry(expiry)
  } catch (error) {
    throw new InvalidOptionError('expiry', message(error))
  }
  return expiry
}

function checkClock(now: () => number): () => number {
  if (typeof now !== 'function' || !Number.isFinite(now())) {
    throw new InvalidOptionError('now', 'must be a function that gives milliseconds since 1970')
  }
  return now
}

function object<T extends object>(name: string, value: T): T {
  if (typeof value !== 'object' || value === null) {
    throw new InvalidOptionError(name, 'must be an object')
  }
  return value
}

function boolean(name: string, value: boolean | undefined, otherwise: boolean): boolean {
  if (value !== undefined && typeof value !== 'boolean') {
    const choice = name === 'secure' ? 'true, false or "auto"' : 'true or false'
    throw new InvalidOptionError(name, `must be ${choice}`)
  }
  return value ?? otherwise
}

function optionalDuration(name: string, value: Duration | number | undefined): number | null {
  return value === undefined ? null : duration(name, value)
}

function duration(
  name: string,
  value: Duration | number,
  longest = Number.POSITIVE_INFINITY,
  choice = ''
): number {
  let milliseconds: number
  try {
    milliseconds = toMilliseconds(typeof value === 'number' ? value : object(name, value))
  } catch (error) {
    const problem = error instanceof InvalidOptionError ? 'must be a duration' : message(error)
    throw new InvalidOptionError(name, `${problem} ${choice}`.trim())
  }
  if (milliseconds > longest) {
    throw new InvalidOptionError(name, `must be at most ${longest} ms`)
  }
  return milliseconds
}

function message(error: unknown): string {
  return `is wrong: ${(error as Error).message}`
}

function bytes(name: string, value: number, least: number, most: number): number {
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    throw new InvalidOptionError(name, `must be a whole number of bytes, at least ${least}`)
  }
  return value
}
