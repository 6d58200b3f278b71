import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { toExpressStore } from '../../lib/express.js'
import {
  copySessions,
  exportSessions,
  importSessions,
  MemoryStore,
  openSessionStore,
  restoreBackup
} from '../../lib/index.js'
import { LmdbStore } from '../../lib/lmdb.js'
import { RedisStore } from '../../lib/redis.js'
import { createApp, temporaryFolder } from '../support/app.js'

/** Calls with what no type allows, and expects to be told which option is wrong. */
async function refuses(t: Test, call: (...args: never[]) => unknown, cases: [string, unknown[]][]) {
  for (const [option, args] of cases) {
    await t.rejects(
      async () => call(...(args as never[])),
      { code: 'SLED_SESSION_INVALID_OPTION', message: new RegExp(`option "${option}" `) },
      `${call.name} ${option}`
    )
  }
}

const notFolders = [undefined, null, '', 5, {}, 'a\0b', Buffer.from('a')]

test('openSessionStore looks at its path and options before it opens anything', async (t) => {
  const path = join(await temporaryFolder(t), 'storage')
  await refuses(t, openSessionStore, [
    ...notFolders.map((folder): [string, unknown[]] => ['path', [folder]]),
    ['options', [path, null]],
    ['columnFamily', [path, { columnFamily: 5 }]],
    ['columnFamily', [path, { columnFamily: '' }]],
    ['columnFamily', [path, { columnFamily: {} }]],
    ['readOnly', [path, { readOnly: 1 }]],
    ['durability', [path, { durability: 'never' }]],
    ['memory', [path, { memory: Number.NaN }]],
    ['memory', [path, { memory: -1 }]],
    ['memory', [path, { memory: '20' }]],
    ['log', [path, { log: {} }]],
    ['colunmFamily', [path, { colunmFamily: 'session' }]]
  ])
  await t.rejects(access(path), 'nothing was made')
})

test('so do backups and restores', async (t) => {
  const folder = await temporaryFolder(t)
  const to = join(folder, 'to')
  for (const options of [
    { path: join(folder, 'storage') },
    { store: new LmdbStore({ path: join(folder, 'lmdb') }) }
  ]) {
    const app = await createApp(t, options)
    const backup = (...args: [string]): unknown => app.sessions.backup(...args)
    await refuses(t, backup, [
      ...notFolders.map((each): [string, unknown[]] => ['folder', [each]]),
      ['onProgress', [to, { onProgress: 5 }]],
      ['signal', [to, { signal: {} }]],
      ['Signal', [to, { Signal: undefined }]]
    ])
  }
  await refuses(t, restoreBackup, [
    ...notFolders.map((each): [string, unknown[]] => ['from', [each, to]]),
    ...notFolders.map((each): [string, unknown[]] => ['to', [folder, each]]),
    ['columnFamily', [folder, to, { columnFamily: 5 }]],
    ['signal', [folder, to, { signal: 5 }]]
  ])
  await t.rejects(access(to))
})

test('so do export, import and copy', async (t) => {
  const store = new MemoryStore()
  await refuses(t, exportSessions, [
    ['store', [undefined]],
    ['store', [{}]],
    ['signal', [store, { signal: 5 }]]
  ])
  await refuses(t, importSessions, [
    ['store', [null, []]],
    ['source', [store, 5]],
    ['source', [store, 'text']],
    ['source', [store]],
    ['now', [store, exportSessions(store), { now: 5 }]]
  ])
  await refuses(t, copySessions, [
    ['from', [{}, store]],
    ['to', [store, 5]],
    ['mirror', [store, store, { mirror: 'yes' }]],
    ['miror', [store, store, { miror: true }]]
  ])
})

test('so do the other stores', async (t) => {
  const client = { isReady: true, sendCommand() {} }
  const openRedis = (options: never): unknown => new RedisStore(options)
  await refuses(t, openRedis, [
    ['options', [undefined]],
    ['client', [{}]],
    ['client', [{ client: 5 }]],
    ['client', [{ client: {} }]],
    ['prefix', [{ client, prefix: 5 }]],
    ['timeout', [{ client, timeout: 0 }]],
    ['timeout', [{ client, timeout: '5' }]],
    ['timeot', [{ client, timeot: 5 }]]
  ])
  await refuses(t, toExpressStore, [
    ['store', [{}]],
    ['sessionEndLimit', [new MemoryStore(), { sessionEndLimit: Number.NaN }]],
    ['reapInterval', [new MemoryStore(), { reapInterval: 0 }]],
    ['ttl', [new MemoryStore(), { ttl: 5 }]]
  ])
})

test('a store that has not been opened says so', async (t) => {
  const path = join(await temporaryFolder(t), 'storage')
  const client = { sendCommand: async () => null }
  for (const store of [new LmdbStore({ path }), new RedisStore({ client })]) {
    const unopened = {
      code: 'SLED_SESSION_STORE_UNAVAILABLE',
      cause: { message: /not been opened.*open\(\)/ }
    }
    await t.rejects(copySessions(store, new MemoryStore()), unopened)
    await t.rejects(toExpressStore(store).get('a'), unopened)
    await t.rejects(toExpressStore(store).set('a', { cookie: {} } as never), unopened)
  }
})
