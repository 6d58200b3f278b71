import { anyFunction, type Option, optional, refuse } from '../record/option.js'

/** How far a long operation is. */
export interface Progress {
  /** What it has been through so far: sessions, or in a backup all entries. */
  readonly done: number
  /** About how many there are in all, or `null` if that is not known. */
  readonly total: number | null
}

/** What all long operations take. */
export interface LongOperation {
  /** Called after each batch. */
  onProgress?: (progress: Progress) => void
  /** Ends the operation after the batch under way; it then rejects with the signal's reason. */
  signal?: AbortSignal
}

/** What a backup or a restore did. */
export interface BackupResult {
  /** Entries now in the target: records and their parts, index entries, quarantined records. */
  readonly entries: number
  /** Those of them that were not there before, or were different. */
  readonly written: number
  /** Entries that were in the target, but no longer in the source. */
  readonly deleted: number
}

type OnProgress = NonNullable<LongOperation['onProgress']>

/** The options of {@link LongOperation}, for tables of those that have more. */
export const LONG_OPERATION = {
  onProgress: optional<OnProgress, undefined>(anyFunction, undefined),
  signal: optional(abortSignal, undefined)
} satisfies Record<keyof LongOperation, Option<unknown>>

function abortSignal(value: unknown, name: string): AbortSignal {
  if (typeof (value as AbortSignal | null)?.throwIfAborted !== 'function') {
    refuse(name, 'must be an AbortSignal')
  }
  return value as AbortSignal
}
