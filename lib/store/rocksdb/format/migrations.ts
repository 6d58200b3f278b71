import { META_KEY } from '../../format/keys.js'
import { encodeMeta, type FormatMeta } from '../../format/meta.js'
import type { StoreContext } from '../../session-store.js'
import type { RocksDatabase, RocksWriteBatch } from '../engine/binding.js'
import type { OpenColumnFamily } from '../engine/database.js'
import { readEntries } from '../engine/read-batch.js'
import { checkFormat, writeFirstMeta } from './meta.js'

/** One step from a format to the next. */
export interface Migration {
  /** The format that it leads to, from the one before. */
  readonly to: number
  /** The entries that it looks at, in the order of their keys. */
  readonly range: { readonly gte: Buffer; readonly lt: Buffer }
  /**
   * Rewrites one entry. It must not write a key that is in the range and behind the entry's own,
   * as it would come to see that too; and what it cannot read, it puts in quarantine.
   */
  rewrite(key: Buffer, value: Buffer, batch: RocksWriteBatch): void
}

/**
 * To records that keep large values apart, and groups in the expiry index: what is there is read as
 * it is, and becomes so when it is next written.
 */
const TO_FORMAT_2: Migration = { to: 2, range: { gte: META_KEY, lt: META_KEY }, rewrite() {} }

/** All steps from the first released format to this version's, in order. */
const MIGRATIONS: readonly Migration[] = [TO_FORMAT_2]

const BATCH = 256
const BATCHES_PER_LINE = 400

/**
 * Brings a column family to the format of this version; a new one gets it at once.
 *
 * Each batch is one atomic write together with the note of how far the migration is: one that is
 * interrupted, however that may be, goes on at the next opening where it was, and rewrites no
 * entry twice.
 *
 * @throws as {@link checkFormat}, and then nothing has been changed
 */
export async function upgradeFormat(
  connection: OpenColumnFamily,
  { now, log }: StoreContext,
  migrations: readonly Migration[] = MIGRATIONS
): Promise<void> {
  const { db, path } = connection
  let meta = await checkFormat(connection, migrations.at(-1)?.to)
  if (meta === null) {
    await writeFirstMeta(db, now())
    return
  }
  for (const migration of migrations) {
    if (migration.to <= meta.format) continue
    log.info({ path, from: meta.format, to: migration.to }, 'migrating the session database')
    meta = await migrate(db, migration, meta, { now, log })
    log.info({ path, format: meta.format }, 'the session database was migrated')
  }
}

async function migrate(
  db: RocksDatabase,
  { to, range, rewrite }: Migration,
  before: FormatMeta,
  { now, log }: StoreContext
): Promise<FormatMeta> {
  let meta = before
  for (let batches = 1; ; batches++) {
    const entries = await readEntries(db, remaining(range, meta), BATCH)
    const batch = db.write({ capacity: 2 * BATCH, autoDestroy: true })
    for (const { key, value } of entries) rewrite(key, value, batch)
    const last = entries.at(-1)
    const done = last === undefined || entries.length < BATCH
    meta = done
      ? finished(meta, to, now())
      : { ...meta, migrating: { to, after: encode(last.key) } }
    batch.tryPut(META_KEY, encodeMeta(meta))
    await batch.flush()
    if (done) return meta
    if (batches % BATCHES_PER_LINE === 0) log.info({ to, entries: batches * BATCH }, 'migrating')
  }
}

function remaining(range: Migration['range'], { migrating }: FormatMeta): object {
  if (migrating === undefined) return range
  return { gt: Buffer.from(migrating.after, 'base64url'), lt: range.lt }
}

function finished(meta: FormatMeta, to: number, now: number): FormatMeta {
  const { migrating: _, migrated = [], ...rest } = meta
  return { ...rest, format: to, migrated: [...migrated, { to, at: new Date(now).toISOString() }] }
}

function encode(key: Buffer): string {
  return key.toString('base64url')
}
