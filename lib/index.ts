export type { CookieOptions, SecureOption } from './cookie/attributes.js'
export type { CookieKey } from './cookie/form.js'
export {
  BindingUnavailableError,
  ColumnFamilyError,
  DatabaseLockedError,
  DatabaseOpenError,
  FormatUnsupportedError,
  InvalidOptionError,
  InvalidPrincipalError,
  PathUnusableError,
  RecordCorruptError,
  RouteWithoutSessionError,
  SessionBusyError,
  SessionIdUnknownError,
  SessionNotLoadedError,
  SessionTooLargeError,
  StoreUnavailableError,
  ValueNotStorableError
} from './errors.js'
export type { RejectionReason, SessionEvent, SessionEvents } from './events.js'
export type { ExclusiveOptions } from './exclusive.js'
export type { SessionInfo, SessionManager } from './manager.js'
export type { SledSessionOptions } from './options.js'
export { sledSession as default, sledSession } from './plugin.js'
export {
  atDateTime,
  type Duration,
  type Expiry,
  onInactivity,
  onSessionEnd
} from './record/expiry.js'
export { SessionRecord } from './record/record.js'
export * from './session/data.js'
export type { Session } from './session/session.js'
export { MemoryStore } from './store/memory/memory-store.js'
export type {
  SessionChanges,
  SessionStore,
  StoreContext,
  StoreLogger
} from './store/session-store.js'
export type { CacheStats, ReaperStats, StoreStats, WriteStats } from './store/stats.js'
