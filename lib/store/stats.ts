/** What a store tells about itself, at a bounded cost. Its counters begin when it is opened. */
export interface StoreStats {
  /** What kind of store it is: `rocksdb`, `memory`, `redis`, or what another names itself. */
  readonly store: string
  /**
   * About how many sessions are stored, or `null` if the store cannot tell cheaply. Those past
   * their time count until the reaper has deleted them.
   */
  readonly sessions: number | null
  /** What its files take on disk, in bytes, or `null` if it has none. */
  readonly diskBytes: number | null
  /** The sessions in memory, or `null` if the store keeps none there. */
  readonly cache: CacheStats | null
  /** Writes made by visitors, jobs and the reaper, or `null` if the store does not count them. */
  readonly writes: WriteStats | null
  /** What the reaper did, or `null` if the store has no reaper of its own. */
  readonly reaper: ReaperStats | null
  /** Records that did not decode and were put aside. */
  readonly quarantined: number
  /** The storage engine's own numbers under its own names. Which there are may change. */
  readonly engine: Readonly<Record<string, number>>
}

export interface CacheStats {
  /** Sessions in memory, each once: as objects, or packed. */
  readonly records: number
  /** Estimate of the memory that they take, with that of slabs which are not full. */
  readonly bytes: number
  /** Above this many bytes, those that nobody uses are packed or let go. */
  readonly limit: number
  /** Loads of sessions that were in memory, in either form. */
  readonly hits: number
  readonly misses: number
}

export interface WriteStats {
  /** Changes of a session that were handed to the engine. */
  readonly sessions: number
  /** The atomic batches that they went out in: one for all changes of a turn of the event loop. */
  readonly groups: number
  /** The most changes that went out in one. */
  readonly largestGroup: number
}

export interface ReaperStats {
  /** Sessions deleted because they were past their time. */
  readonly deleted: number
  /** Index entries that came due while their session lived on, and were moved. */
  readonly refiled: number
}

/** The statistics of a store that has none. */
export const NO_STATS: StoreStats = {
  store: 'other',
  sessions: null,
  diskBytes: null,
  cache: null,
  writes: null,
  reaper: null,
  quarantined: 0,
  engine: {}
}
