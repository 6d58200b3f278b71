import { test } from 'tap'
import { importSessions, MemoryStore } from '../../lib/index.js'
import { createApp } from '../support/app.js'
import { someHandle } from '../support/sessions.js'

const HEADER =
  '{"export":"fastify-sled-session","version":1,"createdAt":"2026-01-01T00:00:00.000Z"}\n'
const REFUSED = { code: 'SLED_SESSION_IMPORT_REFUSED' }

async function* pieces(...texts: string[]): AsyncGenerator<string> {
  yield* texts
}

function line(more: string): string {
  const time = '"2999-01-01T00:00:00.000Z"'
  return `{"handle":"${someHandle()}","createdAt":${time},"lastSeenAt":${time},"expiresAt":${time},"expiry":null,"principal":null,${more}}\n`
}

async function importing(text: string, maxRecordSize?: number) {
  const store = new MemoryStore()
  await store.open({ now: Date.now, log: { debug() {}, info() {}, warn() {}, error() {} } })
  const limit = maxRecordSize === undefined ? {} : { maxRecordSize }
  return importSessions(store, pieces(HEADER, text, '{"sessions":1}\n'), limit)
}

test('a value that is nested too deep is refused with its line', async (t) => {
  for (const depth of [200, 100_000]) {
    const typed = `${'[0,'.repeat(depth)}[1]${']'.repeat(depth)}`
    const plain = `${'['.repeat(depth)}${']'.repeat(depth)}`
    for (const more of [
      `"data":{},"typed":{"k":${typed}}`,
      `"data":{},"typedMetadata":${typed}`,
      `"data":{"k":${plain}}`,
      `"data":{},"metadata":${plain}`
    ]) {
      await t.rejects(importing(line(more), 4 * 1024 * 1024), {
        ...REFUSED,
        message: /^Line 2 of the import /
      })
    }
  }
})

test('a session holds no more than the application allows, and a line no more than that can be', async (t) => {
  const large = line(`"data":{"k":"${'x'.repeat(2000)}"}`)
  await t.rejects(importing(large, 1000), { ...REFUSED, message: /^Line 2 .* 1000 bytes/ })
  t.match(await importing(large, 3000), { imported: 1 })
  await t.rejects(importing(line(`"data":{},"metadata":"${'x'.repeat(2000)}"`), 1000), REFUSED)
  const many = Array.from({ length: 200_000 }, (_, at) => `"${at}":1`).join()
  await t.rejects(importing(line(`"data":{${many}}`)), { ...REFUSED, message: /^Line 2 / })

  const app = await createApp(t, { maxRecordSize: 1000 })
  const source = pieces(HEADER, large, '{"sessions":1}\n')
  await t.rejects(app.sessions.import(source), { ...REFUSED, message: /1000 bytes/ })
})
