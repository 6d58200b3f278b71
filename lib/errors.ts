import createError, { type FastifyErrorConstructor } from '@fastify/error'

/** Every error here takes what caused it as its last argument. */
type Options = [options?: { cause: unknown }]

// Said by name: the inferred type would reach @fastify/error in a way that some settings of
// TypeScript cannot follow.
type ErrorClass<Arguments extends unknown[]> = FastifyErrorConstructor<{ code: string }, Arguments>

/** An option cannot be used. One that was given at register fails the registration. */
export const InvalidOptionError: ErrorClass<[option: string, problem: string, ...Options]> =
  createError('SLED_SESSION_INVALID_OPTION', 'fastify-sled-session: option "%s" %s', 500, TypeError)

/** The database folder cannot be created, is not a folder, or may not be written. */
export const PathUnusableError: ErrorClass<
  [path: string, problem: string, remedy: string, ...Options]
> = createError('SLED_SESSION_PATH_UNUSABLE', 'Cannot use "%s" as the database folder: %s. %s')

/** Another process, or another registration in this one, has the database open. */
export const DatabaseLockedError: ErrorClass<
  [path: string, holder: string, remedy: string, ...Options]
> = createError(
  'SLED_SESSION_DATABASE_LOCKED',
  'The database "%s" is held by %s. RocksDB lets exactly one opener in: %s'
)

/** The database has column families that were not named when it was opened, or lacks ours. */
export const ColumnFamilyError: ErrorClass<
  [path: string, problem: string, remedy: string, ...Options]
> = createError('SLED_SESSION_COLUMN_FAMILY', 'The database "%s" %s. %s')

/** The engine refused to open the database for a reason of its own; `cause` has its words. */
export const DatabaseOpenError: ErrorClass<[path: string, reason: string, ...Options]> =
  createError(
    'SLED_SESSION_DATABASE_OPEN',
    'Cannot open the database "%s": %s. If its files are damaged, run "sled-session verify" to see what can still be read, and restore a backup with "sled-session restore"; docs/durability.md has the steps.'
  )

/** The native module could not be loaded. */
export const BindingUnavailableError: ErrorClass<
  [name: string, reason: string, remedy: string, ...Options]
> = createError('SLED_SESSION_BINDING_UNAVAILABLE', 'Cannot load %s: %s. %s')

/** The database was written by a newer version, in a format that this one does not know. */
export const FormatUnsupportedError: ErrorClass<
  [path: string, found: number, known: number, ...Options]
> = createError(
  'SLED_SESSION_FORMAT_UNSUPPORTED',
  'The database "%s" has format %s, this version knows formats up to %s. It was left untouched: run the version that wrote it, or a newer one.'
)

/** What is in the database is not this plugin's, or its format entry is damaged. */
export const FormatUnreadableError: ErrorClass<
  [path: string, found: string, remedy: string, ...Options]
> = createError(
  'SLED_SESSION_FORMAT_UNREADABLE',
  'The database "%s" has entries %s. It was left untouched. %s'
)

/** A value handed to the session cannot be stored. Nothing was changed. */
export const ValueNotStorableError: ErrorClass<[key: string, problem: string, ...Options]> =
  createError(
    'SLED_SESSION_VALUE_NOT_STORABLE',
    'The value for session key %s cannot be stored: %s.',
    500,
    TypeError
  )

/** The session would exceed its size limit. The stored session stays as it was. */
export const SessionTooLargeError: ErrorClass<[key: string, limit: number, ...Options]> =
  createError(
    'SLED_SESSION_TOO_LARGE',
    'Setting session key %s would take the session over its limit of %s bytes. Keep large data elsewhere and its key in the session, or raise "maxRecordSize".',
    500,
    RangeError
  )

/** A habit from another session plugin, which would do nothing here: nothing was changed. */
export const MisuseError: ErrorClass<[what: string, remedy: string, ...Options]> = createError(
  'SLED_SESSION_MISUSE',
  '%s %s.',
  500,
  TypeError
)

/** An expiry or a duration that never comes to pass, or is none at all. Nothing was changed. */
export const InvalidExpiryError: ErrorClass<[problem: string, ...Options]> = createError(
  'SLED_SESSION_INVALID_EXPIRY',
  'Not an expiry: %s.',
  500,
  TypeError
)

/** A principal, the name of a user, is not one that can be stored and found again. */
export const InvalidPrincipalError: ErrorClass<[longest: number, ...Options]> = createError(
  'SLED_SESSION_INVALID_PRINCIPAL',
  'A principal must be a string of 1 to %s bytes. Give numbers as strings.',
  500,
  TypeError
)

/** A string given as a handle is not one, so it would name no session, or another's. */
export const InvalidHandleError: ErrorClass<Options> = createError(
  'SLED_SESSION_INVALID_HANDLE',
  'Not a handle: it must be 32 bytes in base64url, 43 characters as they were given out.',
  500,
  TypeError
)

/** A session that was to be kept is none of that user's. No session was ended. */
export const ExceptUnknownError: ErrorClass<Options> = createError(
  'SLED_SESSION_EXCEPT_UNKNOWN',
  'The session given as "except" is none of this user\'s: it has ended, or never was theirs. No session was ended. Leave "except" out to end all of them.',
  409
)

/** The session was used in a hook that runs before the one that loads it. */
export const SessionNotLoadedError: ErrorClass<[name: string, ...Options]> = createError(
  'SLED_SESSION_NOT_LOADED',
  'request.%s was used before it was loaded: register fastify-sled-session before you add the hook that uses it.'
)

/** Something was set in a route that has opted out of sessions. */
export const RouteWithoutSessionError: ErrorClass<Options> = createError(
  'SLED_SESSION_ROUTE_WITHOUT_SESSION',
  'This route has config.session set to false, so nothing can be kept for its visitor: remove that setting.'
)

/** A session would begin where the browser does not send its cookie. */
export const OutsideCookiePathError: ErrorClass<[path: string, ...Options]> = createError(
  'SLED_SESSION_OUTSIDE_COOKIE_PATH',
  'The session cookie has the path "%s", and this request is outside of it: a session that begins here would take the place of the one that the browser has there. Set nothing here, or widen "cookie.path".'
)

/** A session that was found by its handle was asked for its id. */
export const SessionIdUnknownError: ErrorClass<Options> = createError(
  'SLED_SESSION_ID_UNKNOWN',
  'The id of a session is known to its visitor alone: use session.handle.'
)

/** Too many requests of one session wait for an exclusive route, or one has waited too long. */
export const SessionBusyError: ErrorClass<[reason: string, ...Options]> = createError(
  'SLED_SESSION_BUSY',
  'This session is busy: %s. Try again.',
  503
)

/** The store could not read or write. Answered with 503; `cause` has the store's own error. */
export const StoreUnavailableError: ErrorClass<[operation: string, ...Options]> = createError(
  'SLED_SESSION_STORE_UNAVAILABLE',
  'The session store could not %s. Nothing was acknowledged; try again.',
  503
)

/**
 * A file of the store is damaged in the place that was needed. Answered with 503, and trying again
 * does not help; `cause` has the store's own error.
 */
export const StoreDamagedError: ErrorClass<[operation: string, ...Options]> = createError(
  'SLED_SESSION_STORE_DAMAGED',
  'The session store could not %s: a file of it is damaged. Restore a backup; docs/durability.md has the steps.',
  503
)

/** The store has no way to do what was asked. */
export const NotSupportedError: ErrorClass<[operation: string, remedy: string, ...Options]> =
  createError('SLED_SESSION_NOT_SUPPORTED', 'This session store cannot %s. %s', 501)

/** A folder cannot be backed up to, restored from, restored to or used. It was left untouched. */
export const BackupUnusableError: ErrorClass<
  [path: string, problem: string, remedy: string, ...Options]
> = createError('SLED_SESSION_BACKUP_UNUSABLE', 'The folder "%s" %s. %s')

/** A line of an import is not one of an export. What came before it is stored. */
export const ImportRefusedError: ErrorClass<[line: number, problem: string, ...Options]> =
  createError('SLED_SESSION_IMPORT_REFUSED', 'Line %s of the import %s.', 400)

/** Stored bytes do not decode. The record is quarantined and its visitor gets a fresh session. */
export const RecordCorruptError: ErrorClass<[problem: string, ...Options]> = createError(
  'SLED_SESSION_RECORD_CORRUPT',
  'A stored session record is corrupt: %s.',
  503
)

/** Whether an error is one of these, which say already what to do. */
export function isOurs(error: unknown): boolean {
  return String((error as { code?: unknown } | null)?.code).startsWith('SLED_SESSION_')
}
