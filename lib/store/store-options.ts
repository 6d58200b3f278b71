import { isProxy } from 'node:util/types'
import {
  anyObject,
  bytes,
  type Check,
  duration,
  oneOf,
  option,
  refuse,
  systemName
} from '../record/option.js'
import { LONGEST_TIMER } from '../timers.js'
import type { SessionStore } from './session-store.js'

const MIB = 1024 * 1024

/** The binding ends the process on arguments of the wrong type, so nothing gets there unseen. */
export const folder: Check<string> = systemName('the name of a folder')

export const columnFamily = option(systemName('a name'), 'session')

export const durability = oneOf('process', 'power')

/** In ms; 0 for not at all. */
export function lockTimeout(value: unknown, name: string): number {
  return value === 0 ? 0 : LOCK_TIMEOUT(value, name)
}

const LOCK_TIMEOUT = duration(LONGEST_TIMER)

/** How long a store may take to answer, in ms. docs/durability.md has the reasons. */
export const STORE_TIMEOUT = 5000

export const storeTimeout = option(duration(LONGEST_TIMER), STORE_TIMEOUT)

/** In bytes. */
export const memory: Check<number> = bytes(MIB)

const METHODS: (keyof SessionStore)[] = ['open', 'create', 'load', 'loadByHandle', 'read']
METHODS.push('save', 'replace', 'destroy', 'handlesOf', 'count', 'records', 'putRecords')
METHODS.push('deleteExpired', 'close')

export function sessionStore(value: unknown, name: string): SessionStore {
  const store = anyObject(value, name)
  const several = store.writers === 'several'
  const methods = several ? [...METHODS, 'compareAndSet'] : METHODS
  const lacks = methods.find((method) => typeof store[method] !== 'function')
  if (lacks !== undefined) refuse(name, `must be a SessionStore, but has no method ${lacks}()`)
  if (!several && store.writers !== 'one') {
    refuse(name, 'must be a SessionStore, but its "writers" is neither "one" nor "several"')
  }
  return value as SessionStore
}

export function database(value: unknown, name: string): object {
  const { columnFamily, ready, write } = anyObject(value, name)
  const methods = [columnFamily, ready, write]
  if (isProxy(value) || methods.some((method) => typeof method !== 'function')) {
    refuse(name, 'must be an open database of rocksdb-native')
  }
  return value as object
}
