import assert from 'node:assert/strict'
import { type Expiry, onInactivity } from '../../record/expiry.js'
import { createSessionId, handleOf } from '../../record/handle.js'
import { SessionRecord } from '../../record/record.js'
import type { SessionStore } from '../../store/session-store.js'

/** Where the stores of one case keep their sessions: a folder, a database, a prefix. Empty at first. */
export interface StorePlace {
  /**
   * A store on this place, not opened yet. A store for several writers is asked for again while
   * the first one is open, as another process would.
   */
  createStore(): SessionStore | Promise<SessionStore>
  /** Whether a store finds what an earlier one left here. Default true. */
  readonly durable?: boolean
  /** Makes all writes, all reads of single sessions, or all lists and counts fail until `mend`. */
  break?(what: 'write' | 'read' | 'list'): void | Promise<void>
  mend?(): void | Promise<void>
  /** Overwrites what is stored of a session, while no store is open that has it in memory. */
  damage?(handle: string): void | Promise<void>
  /** Called at the end of the case, when all stores are closed. */
  dispose?(): void | Promise<void>
}

/** What a case works with. */
export interface Harness {
  readonly place: StorePlace
  readonly store: SessionStore
  /** A clock that stands still until a case moves it. */
  readonly clock: { time: number }
  readonly log: string[]
  /** The handles that the store said it has put aside. */
  readonly quarantined: string[]
  /** Another store on the same place, for several writers. */
  second(): Promise<SessionStore>
  /** Closes the store and opens another on the same place; `between` runs while none is open. */
  reopen(between?: () => Promise<void> | void): Promise<SessionStore>
}

/** One thing that the contract promises. */
export interface Case {
  readonly name: string
  /** What a store or a place must have for the case to make sense. */
  readonly needs?: 'one writer' | 'several writers' | 'durable' | 'break' | 'damage'
  run(harness: Harness): Promise<void>
}

const MINUTE = 60_000
const LIFETIME = 30 * MINUTE

/** Runs a case on a fresh place and closes all that was opened. */
export async function runCase(place: StorePlace, { run, needs }: Case): Promise<void> {
  // Sessions of a server that deletes by its own clock must not end during a case.
  const clock = { time: Date.now() }
  const log: string[] = []
  const quarantined: string[] = []
  const opened = new Set<SessionStore>()
  const open = async (): Promise<SessionStore> => {
    const store = await place.createStore()
    const note = (_fields: object, message: string): number => log.push(message)
    const logger = { debug: note, info: note, warn: note, error: note }
    const onQuarantine = (handle: string): number => quarantined.push(handle)
    await store.open({ now: () => clock.time, log: logger, onQuarantine })
    opened.add(store)
    return store
  }
  const close = async (store: SessionStore): Promise<void> => {
    opened.delete(store)
    await store.close()
  }
  try {
    const store = await open()
    if (!isMet(needs, place, store)) return
    const reopen: Harness['reopen'] = async (between) => {
      await close(store)
      await between?.()
      return open()
    }
    await run({ place, store, clock, log, quarantined, second: open, reopen })
  } finally {
    for (const store of opened) await close(store)
    await place.dispose?.()
  }
}

function isMet(needs: Case['needs'], place: StorePlace, store: SessionStore): boolean {
  switch (needs) {
    case 'one writer':
      return store.writers === 'one'
    case 'several writers':
      return store.writers === 'several'
    case 'durable':
      return place.durable !== false
    case 'break':
      return place.break !== undefined
    case 'damage':
      return place.damage !== undefined && place.durable !== false
    default:
      return true
  }
}

/** A new record with something in each of its fields, and its id; nothing is stored. */
export function newRecord(
  { clock, store }: Pick<Harness, 'clock' | 'store'>,
  fields: { principal?: string | null; lifetime?: number; data?: Record<string, string> } = {}
): { id: string; record: SessionRecord } {
  const id = createSessionId()
  const { principal = null, lifetime = LIFETIME, data = { counter: '1' } } = fields
  const { time } = clock
  const record = store.create({
    handle: handleOf(id),
    createdAt: time - 5,
    lastSeenAt: time - 3,
    expiresAt: time + lifetime
  })
  record.expiry = onInactivity(lifetime)
  record.principal = principal
  record.metadata = '{"agent":"é"}'
  for (const [key, text] of Object.entries(data)) record.apply(key, text)
  return { id, record }
}

/** As `newRecord`, and stored. */
export async function storedRecord(
  harness: Harness,
  fields?: Parameters<typeof newRecord>[1]
): Promise<{ id: string; record: SessionRecord; handle: string }> {
  const { id, record } = newRecord(harness, fields)
  await harness.store.save(record, new Map(record.data))
  return { id, record, handle: record.handle }
}

/** One session in the hands of two processes. */
export async function inTwoHands(
  harness: Harness,
  fields?: Parameters<typeof storedRecord>[1]
): Promise<{
  one: SessionRecord
  other: SessionRecord
  store: SessionStore
  second: SessionStore
  handle: string
}> {
  const { handle, record } = await storedRecord(harness, fields)
  const second = await harness.second()
  const { store } = harness
  return { one: record, other: await loaded(second, handle), store, second, handle }
}

/** Sets keys, `undefined` to delete, and saves. */
export function saveChanges(
  store: SessionStore,
  record: SessionRecord,
  changes: Record<string, string | undefined>
): Promise<void> {
  for (const [key, text] of Object.entries(changes)) record.apply(key, text)
  return store.save(record, new Map(Object.entries(changes)))
}

/** Loads a session that must be there. */
export async function loaded(store: SessionStore, handle: string): Promise<SessionRecord> {
  const record = await store.loadByHandle(handle)
  assert.ok(record, 'the session is there')
  return record
}

/** All that a record says. */
export function content(record: SessionRecord | null): object | null {
  if (record === null) return null
  const { handle, createdAt, lastSeenAt, expiresAt, principal, metadata, size } = record
  const expiry = textOf(record.expiry)
  const data = [...record.data]
  return { handle, createdAt, lastSeenAt, expiresAt, expiry, principal, metadata, size, data }
}

function textOf(expiry: Expiry | null): string {
  return JSON.stringify(expiry)
}

/** The data of what is stored, or `null` if nothing is. */
export async function storedData(
  store: SessionStore,
  handle: string
): Promise<Record<string, string> | null> {
  const record = await store.read(handle)
  return record === null ? null : Object.fromEntries(record.data)
}

/** The three other strings that base64url decodes to the bytes of this handle. */
export function aliasesOf(handle: string): string[] {
  const bytes = Buffer.from(handle, 'base64url')
  const last = [...DIGITS].map((digit) => handle.slice(0, -1) + digit)
  return last.filter((alias) => alias !== handle && bytes.equals(Buffer.from(alias, 'base64url')))
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** A principal's sessions, of all batches. */
export async function handlesOf(store: SessionStore, principal: string): Promise<string[]> {
  const handles: string[] = []
  for await (const batch of store.handlesOf(principal)) handles.push(...batch)
  return handles
}

export async function all(store: SessionStore, after?: string): Promise<SessionRecord[]> {
  const records: SessionRecord[] = []
  for await (const record of store.records(after)) records.push(record)
  return records
}

export { LIFETIME, MINUTE, SessionRecord }
