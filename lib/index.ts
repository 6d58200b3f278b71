export {
  BackupUnusableError,
  BindingUnavailableError,
  ColumnFamilyError,
  DatabaseLockedError,
  DatabaseOpenError,
  ExceptUnknownError,
  FormatUnreadableError,
  FormatUnsupportedError,
  ImportRefusedError,
  InvalidExpiryError,
  InvalidHandleError,
  InvalidOptionError,
  InvalidPrincipalError,
  MisuseError,
  NotSupportedError,
  OutsideCookiePathError,
  PathUnusableError,
  RecordCorruptError,
  RouteWithoutSessionError,
  SessionBusyError,
  SessionIdUnknownError,
  SessionNotLoadedError,
  SessionTooLargeError,
  StoreDamagedError,
  StoreUnavailableError,
  ValueNotStorableError
} from './errors.js'
export type { RejectionReason, SessionEvent, SessionEvents } from './events.js'
export type { CookieOptions, SecureOption } from './http/cookie/attributes.js'
export type { CookieKey } from './http/cookie/form.js'
export type { SledSessionOptions } from './http/options.js'
export { sledSession as default, sledSession } from './http/plugin.js'
export type { ExclusiveOptions } from './http/route-config.js'
export type { NewSession, SessionInfo, SessionManager } from './http/session-manager.js'
export {
  atDateTime,
  type Duration,
  type Expiry,
  onInactivity,
  onSessionEnd
} from './record/expiry.js'
export { type NewRecord, SessionRecord } from './record/record.js'
export * from './session/data.js'
export type { SetPrincipalOptions } from './session/login.js'
export type { Session } from './session/session.js'
export type { BackupResult, LongOperation, Progress } from './store/long-operation.js'
export { MemoryStore } from './store/memory/memory-store.js'
export { type OpenStoreOptions, openSessionStore } from './store/open-store.js'
export { restoreBackup } from './store/restore-backup.js'
export type {
  LeftOut,
  SessionChanges,
  SessionStore,
  StoreContext,
  StoreLogger
} from './store/session-store.js'
export type { CacheStats, ReaperStats, StoreStats, WriteStats } from './store/stats.js'
export { type CopyOptions, type CopyResult, copySessions } from './transfer/copy.js'
export { type ExportOptions, exportSessions } from './transfer/export.js'
export { type ImportOptions, type ImportResult, importSessions } from './transfer/import.js'
