import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as lmdb from 'lmdb'
import type { Test } from 'tap'
import type { LmdbStore } from '../../lib/lmdb.js'
import type { LmdbTable, LoadLmdb } from '../../lib/store/lmdb/engine/binding.js'

/** What a database refuses at the moment: writes, reads of single entries, or walks and counts. */
export interface Trouble {
  failing: 'write' | 'read' | 'list' | null
}

const METHODS = {
  write: ['ifVersion'],
  read: ['getBinaryFast'],
  list: ['getKeys', 'getStats']
} as const

/** LMDB as it is, but for what fails. */
export function lmdbInTrouble(trouble: Trouble): LoadLmdb {
  const troubled = <T extends LmdbTable>(table: T): T =>
    new Proxy(table, {
      get(target, name) {
        const value = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          const methods: readonly string[] =
            trouble.failing === null ? [] : METHODS[trouble.failing]
          if (methods.includes(String(name))) {
            const error = new Error(
              'MDB_PANIC: Update of meta page failed or environment had fatal error'
            )
            if (trouble.failing === 'write') return Promise.reject(error)
            throw error
          }
          const result = value.apply(target, args)
          return name === 'openDB' ? troubled(result) : result
        }
      }
    })
  return async () => ({
    ...lmdb,
    open: (path: string, options: object) =>
      troubled(lmdb.open(path, options) as unknown as LmdbTable)
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
