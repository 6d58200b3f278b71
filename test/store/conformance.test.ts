import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { test } from 'tap'
import { conformanceCases, type StorePlace } from '../../lib/conformance.js'
import { MemoryStore } from '../../lib/index.js'
import type { RedisClient } from '../../lib/redis.js'
import { recordKey } from '../../lib/store/format/keys.js'
import { openDatabase } from '../../lib/store/lmdb/engine/database.js'
import { borrowDatabase } from '../../lib/store/rocksdb/engine/database.js'
import { RocksDBStore } from '../../lib/store/rocksdb/rocksdb-store.js'
import { startRedis } from '../../scripts/servers/redis.js'
import {
  lmdbInTrouble,
  lmdbStoreOfAnotherProcess,
  type Trouble,
  temporaryFolder
} from '../support/lmdb.js'
import { needs } from '../support/needs.js'
import { redisStoreOfAnotherProcess } from '../support/redis-app.js'
import { openApplicationDatabase, putRaw, type Traffic } from '../support/rocksdb.js'

const FAILING = { write: 'write', read: 'read', list: 'iterator' } as const

async function rocksPlace(): Promise<StorePlace> {
  const path = await mkdtemp(join(tmpdir(), 'sled-conformance-'))
  const { db, traffic } = await openApplicationDatabase(path)
  const set = (failing: Traffic['failing']): void => {
    traffic.failing = failing
  }
  return {
    createStore: () =>
      new RocksDBStore({ connect: () => borrowDatabase(db, 'session'), cacheBytes: 1_000_000 }),
    break: (what) => set(FAILING[what]),
    mend: () => set(null),
    async damage(handle) {
      const family = db.columnFamily('session')
      const bytes = Buffer.from((await family.get(recordKey(handle))) ?? [])
      bytes[60] = (bytes[60] ?? 0) ^ 1
      await putRaw(family, recordKey(handle), bytes)
      await family.close()
    },
    async dispose() {
      await db.close()
      await rm(path, { recursive: true })
    }
  }
}

test('RocksDB', async (t) => {
  for (const { name, run } of conformanceCases(rocksPlace)) await t.test(name, run)
})

test('memory', async (t) => {
  const place = { durable: false, createStore: () => new MemoryStore() }
  for (const { name, run } of conformanceCases(() => place)) await t.test(name, run)
})

async function lmdbPlace(): Promise<StorePlace> {
  const path = await temporaryFolder()
  const trouble: Trouble = { failing: null }
  return {
    createStore: () => lmdbStoreOfAnotherProcess({ path }, { load: lmdbInTrouble(trouble) }),
    break(what) {
      trouble.failing = what
    },
    mend() {
      trouble.failing = null
    },
    async damage(handle) {
      const database = await openDatabase(path)
      const key = recordKey(handle)
      const entry = database.read(database.sessions, key)
      const bytes = Buffer.from(entry?.bytes ?? [])
      bytes[60] = (bytes[60] ?? 0) ^ 1
      await database.sessions.put(key, bytes, entry?.version)
      await database.close()
    },
    dispose: () => rm(path, { recursive: true })
  }
}

test('LMDB', async (t) => {
  for (const { name, run } of conformanceCases(lmdbPlace)) await t.test(name, run)
})

/** A client whose server is out of memory, or whose connection is lost, when told so. */
function redisPlace(client: RedisClient, raw: (...args: string[]) => Promise<unknown>): StorePlace {
  const prefix = `${randomUUID()}:`
  let cut = false
  const send = async (...args: string[]): Promise<unknown> => {
    if (cut) throw new Error('Connection is closed.')
    return raw(...args)
  }
  const wired: RedisClient =
    'call' in client
      ? { status: 'ready', call: send }
      : { isReady: true, sendCommand: (args: string[]) => send(...args) }
  return {
    createStore: () => redisStoreOfAnotherProcess({ client: wired, prefix }),
    async break(what) {
      if (what === 'write') await raw('CONFIG', 'SET', 'maxmemory', '1')
      else cut = true
    },
    async mend() {
      cut = false
      await raw('CONFIG', 'SET', 'maxmemory', '0')
    },
    async damage(handle) {
      await raw('APPEND', `${prefix}{${handle}}`, '{"half')
    }
  }
}

test('Redis through node-redis', needs('redis-server'), async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const client = createClient({ url: server.url })
  await client.connect()
  t.teardown(() => client.destroy())
  const place = () => redisPlace(client, (...args) => client.sendCommand(args))
  for (const { name, run } of conformanceCases(place)) await t.test(name, run)
})

test('Redis through ioredis', needs('redis-server'), async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const client = new Redis(server.url)
  t.teardown(() => client.disconnect())
  const place = () => redisPlace(client, (name = '', ...args) => client.call(name, ...args))
  for (const { name, run } of conformanceCases(place)) await t.test(name, run)
})

test('a store that breaks a promise is found out', async (t) => {
  class Forgetful extends MemoryStore {
    override async save(): Promise<void> {}
  }
  const cases = conformanceCases(() => ({ durable: false, createStore: () => new Forgetful() }))
  const outcomes = await Promise.allSettled(cases.map(({ run }) => run()))
  t.ok(outcomes.filter(({ status }) => status === 'rejected').length > 10)
})
