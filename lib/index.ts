export type { CookieOptions, SecureOption } from './cookie/attributes.js'
export type { CookieKey } from './cookie/form.js'
export {
  BackupUnusableError,
  BindingUnavailableError,
  ColumnFamilyError,
  DatabaseLockedError,
  DatabaseOpenError,
  FormatUnreadableError,
  FormatUnsupportedError,
  ImportRefusedError,
  InvalidExpiryError,
  InvalidOptionError,
  InvalidPrincipalError,
  NotSupportedError,
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
export { type OpenStoreOptions, openSessionStore } from './storage.js'
export type { BackupResult, LongOperation, Progress } from './store/long-operation.js'
export { MemoryStore } from './store/memory/memory-store.js'
export { restoreBackup } from './store/rocksdb/backup.js'
export type {
  SessionChanges,
  SessionStore,
  StoreContext,
  StoreLogger
} from './store/session-store.js'
export type { CacheStats, ReaperStats, StoreStats, WriteStats } from './store/stats.js'
export { type CopyResult, copySessions } from './transfer/copy.js'
export { exportSessions } from './transfer/export.js'
export { type ImportResult, importSessions } from './transfer/import.js'
