import { once } from 'node:events'
import { type FileHandle, open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { addCounter, cookieOf, createApp, listen, temporaryFolder } from '../../support/app.js'
import { startChild } from '../../support/child.js'
import { needs } from '../../support/needs.js'
import { openApplicationDatabase } from '../../support/rocksdb.js'
import { isSocket, parseTrace, type SystemCall, unproven } from '../../support/strace.js'

const REQUESTS = 240
/** With the least memory that the option takes, some 200 KiB of writes change the log file. */
const PADDING = 'x'.repeat(5000)

/** Serves requests that each store a value of their own, and returns what the server asked of the kernel. */
async function traceServer(t: Test, durability: string): Promise<SystemCall[]> {
  const folder = await temporaryFolder(t)
  const trace = join(folder, 'trace')
  const server = startChild(
    t,
    'test/fixtures/server.ts',
    { STORAGE: join(folder, 'deep', 'storage'), DURABILITY: durability, MEMORY: String(2 ** 20) },
    [],
    // -y names the file behind each descriptor.
    ['strace', '-f', '-y', '-s', '100000', '-o', trace, '-e', `trace=${CALLS.join(',')}`]
  )
  const [, url = ''] = await server.line(/listening on (.*)/)
  for (let sent = 0; sent < REQUESTS; sent += 4) {
    await Promise.all(
      [0, 1, 2, 3].map((n) => fetch(`${url}/keep?text=<${sent + n}>${PADDING}<${sent + n}>`))
    )
  }
  const pid = Number(await (await fetch(`${url}/pid`)).text())
  const ended = once(server.process, 'close')
  process.kill(pid, 'SIGTERM')
  await ended
  return parseTrace(await readFile(trace, 'utf8'))
}

const CALLS = [
  'write',
  'writev',
  'pwrite64',
  'sendto',
  'sendmsg',
  'fdatasync',
  'fsync',
  'mkdir',
  'openat'
]
const WRITES = new Set(['write', 'writev', 'pwrite64'])
const MARK = /<\d+>/
const isLog = (file: string): boolean => /\/\d+\.log$/.test(file)

/** The responses that left before the log with their session was on the disk. */
function unprovenLog(calls: SystemCall[]): number[] {
  return unproven(
    calls,
    REQUESTS,
    ({ name, file }) => WRITES.has(name) && isLog(file),
    ({ name, file }, written) => name === 'fdatasync' && file === written.file
  )
}

test(
  "with durability 'power' no response leaves before its log is on the disk",
  needs('strace'),
  async (t) => {
    const calls = await traceServer(t, 'power')
    t.same(unprovenLog(calls), [])

    const logs = [...new Set(calls.filter(({ file }) => isLog(file)).map(({ file }) => file))]
    t.ok(logs.length >= 4, `${logs.length} log files came one after the other`)
    for (const log of logs) {
      const folder = log.slice(0, log.lastIndexOf('/'))
      const name = log.slice(folder.length)
      const made = calls.find(({ text }) => text.includes(`${name}"`) && text.includes('O_CREAT'))
      t.ok(made !== undefined, 'its name is new')
      // While one sync is under way the next log is begun, so its name may be there before it is written.
      const named = calls.find(
        (call) => call.name === 'fsync' && call.file === folder && call.began > (made?.ended ?? 0)
      )
      const carried = calls.find((call) => call.file === log && MARK.test(call.text))
      const [mark] = MARK.exec(carried?.text ?? '') ?? []
      if (mark === undefined) continue
      const answered = calls.find((call) => isSocket(call) && call.text.includes(mark))
      t.ok(named !== undefined, 'the folder that names it is synced')
      t.ok((named?.ended ?? 0) < (answered?.began ?? 0), 'before the first response that needs it')
    }
    const synced = calls.filter(({ name }) => name === 'fsync').map(({ file }) => file)
    const made = calls.filter(({ name, text }) => name === 'mkdir' && /deep/.test(text))
    t.ok(made.length >= 2)
    t.ok(
      synced.some((file) => file.endsWith('/deep')),
      'and so are the parents of new folders'
    )
  }
)

test(
  "the same look at durability 'process' finds responses that do not wait for the disk",
  needs('strace'),
  async (t) => {
    t.ok(unprovenLog(await traceServer(t, 'process')).length > REQUESTS / 2)
  }
)

test('a log that the disk refuses is a 503, and its memory goes to a table file before the next', async (t) => {
  const path = await temporaryFolder(t)
  const { db } = await openApplicationDatabase(path)
  const app = await createApp(t, { db, durability: 'power' })
  app.addHook('onClose', () => db.close())
  addCounter(app)
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  const count = async (): Promise<string> => (await fetch(url, { headers: { cookie } })).text()
  t.equal(await count(), 'Current count: 1')

  const anyFile = await open(path, 'r')
  const prototype: FileHandle = Object.getPrototypeOf(anyFile)
  await anyFile.close()
  const { datasync } = prototype
  t.teardown(() => Object.assign(prototype, { datasync }))
  prototype.datasync = () => Promise.reject(new Error('EIO: i/o error, fdatasync'))
  t.match(await count(), /SLED_SESSION_STORE_UNAVAILABLE/)
  Object.assign(prototype, { datasync })

  const tables = async (): Promise<string[]> =>
    (await readdir(path)).filter((name) => name.endsWith('.sst'))
  t.same(await tables(), [])
  t.match(await count(), /Current count: [23]/, 'whether the refused one counted is not known')
  t.equal((await tables()).length, 1)
  t.match(await count(), /Current count: [34]/)
})
