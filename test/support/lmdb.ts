import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as lmdb from 'lmdb'
import type { Test } from 'tap'
import type { LmdbStore, LmdbStoreOptions } from '../../lib/lmdb.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import type { SessionRecord } from '../../lib/record/record.js'
import type { LmdbTable, LoadLmdb } from '../../lib/store/lmdb/engine/binding.js'

/** What a database refuses at the moment: writes, reads of single entries, or walks and counts. */
export interface Trouble {
  failing: 'write' | 'read' | 'list' | null
  /** How many more transactions are refused, as when another process was killed in its own. */
  refusals?: number
  /** The number of what has failed in the system, if that is why. */
  code?: number
}

const METHODS = {
  write: ['ifVersion'],
  read: ['getBinaryFast'],
  list: ['getKeys', 'getStats']
} as const

/** Hears of each call of a table's method; what it throws or returns is what the call does then. */
type Intercept = (method: string) => Promise<never> | undefined

function intercepted(intercept: Intercept): LoadLmdb {
  const wrap = <T extends LmdbTable>(table: T): T =>
    new Proxy(table, {
      get(target, name) {
        const value = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          const instead = intercept(String(name))
          if (instead !== undefined) return instead
          const result = value.apply(target, args)
          return name === 'openDB' ? wrap(result) : result
        }
      }
    })
  return async () => ({
    ...lmdb,
    open: (path: string, options: object) => wrap(lmdb.open(path, options) as unknown as LmdbTable)
  })
}

/** LMDB as it is, but for what fails. */
export function lmdbInTrouble(trouble: Trouble): LoadLmdb {
  return intercepted((method) => {
    const methods: readonly string[] = trouble.failing === null ? [] : METHODS[trouble.failing]
    if (methods.includes(method)) {
      const error = new Error(
        'MDB_PANIC: Update of meta page failed or environment had fatal error'
      )
      if (trouble.failing === 'write') return Promise.reject(error)
      throw error
    }
    if (method !== 'ifVersion' || !trouble.refusals) return undefined
    trouble.refusals--
    const { code } = trouble
    const reason = new Error('Commit failed (see commitError for details)')
    return Promise.reject(code === undefined ? reason : Object.assign(reason, { code }))
  })
}

/** LMDB as it is, and another process that sets the mark of its opening when the next write is asked for. */
export function lmdbWithOpener(next: { mark: string }): LoadLmdb {
  return intercepted((method) => {
    if (method === 'ifVersion' && next.mark !== '') {
      writeFileSync(next.mark, '')
      next.mark = ''
    }
    return undefined
  })
}

/** A folder that a test or a run has to itself. */
export async function temporaryFolder(t?: Pick<Test, 'teardown'>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'sled lmdb '))
  t?.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

let processes = 0

/** A store as another process has it, which has loaded a module of its own. */
export async function lmdbStoreOfAnotherProcess(
  ...options: ConstructorParameters<typeof LmdbStore>
): Promise<LmdbStore> {
  const module = `../../lib/store/lmdb/lmdb-store.js?process=${++processes}`
  const loaded = (await import(module)) as { LmdbStore: typeof LmdbStore }
  return new loaded.LmdbStore(...options)
}

/** An open store, closed after the test; its clock stands still and what it logs is kept. */
export async function openStore(
  t: Pick<Test, 'teardown'>,
  options: Partial<LmdbStoreOptions> = {},
  load?: LoadLmdb
): Promise<{ store: LmdbStore; path: string; clock: { time: number }; log: string[] }> {
  const path = options.path ?? (await temporaryFolder(t))
  const store = await lmdbStoreOfAnotherProcess({ ...options, path }, { load })
  const clock = { time: Date.now() }
  const log: string[] = []
  const note = (_fields: object, message: string): number => log.push(message)
  const logger = { debug: note, info: note, warn: note, error: note }
  await store.open({ now: () => clock.time, log: logger })
  t.teardown(() => store.close())
  return { store, path, clock, log }
}

/** A session as it is stored, and its handle. */
export async function storeSession(
  store: LmdbStore,
  data: Record<string, string> = { counter: '1' }
): Promise<{ record: SessionRecord; handle: string }> {
  const now = Date.now()
  const handle = handleOf(createSessionId())
  const record = store.create({ handle, createdAt: now, lastSeenAt: now, expiresAt: now + 60_000 })
  for (const [key, text] of Object.entries(data)) record.apply(key, text)
  await store.save(record, new Map(record.data))
  return { record, handle }
}

export async function counterOf(store: LmdbStore, handle: string): Promise<string | undefined> {
  return (await store.read(handle))?.data.get('counter')
}
