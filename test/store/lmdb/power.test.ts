import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { startChild } from '../../support/child.js'
import { temporaryFolder } from '../../support/lmdb.js'
import { needs } from '../../support/needs.js'
import { parseTrace, type SystemCall, unproven } from '../../support/strace.js'

const REQUESTS = 80
const CALLS = ['write', 'writev', 'pwrite64', 'pwritev', 'sendto', 'sendmsg', 'fdatasync', 'fsync']
const SYNCS = new Set(['fdatasync', 'fsync'])

/** Serves requests that each store a value of their own, and returns what the server asked of the kernel. */
async function traceServer(t: Test, durability: string): Promise<SystemCall[]> {
  const folder = await temporaryFolder(t)
  const trace = join(folder, 'trace')
  const server = startChild(
    t,
    'test/fixtures/lmdb-server.ts',
    { STORAGE: join(folder, 'sessions'), DURABILITY: durability },
    [],
    // A group of writes is one call. -y names the file behind each descriptor.
    ['strace', '-f', '-y', '-s', '1000000', '-o', trace, '-e', `trace=${CALLS.join(',')}`]
  )
  const [, url = ''] = await server.line(/listening on (.*)/)
  for (let sent = 0; sent < REQUESTS; sent += 4) {
    await Promise.all([0, 1, 2, 3].map((n) => fetch(`${url}/keep?text=<${sent + n}>`)))
  }
  const pid = Number(await (await fetch(`${url}/pid`)).text())
  const ended = once(server.process, 'close')
  process.kill(pid, 'SIGTERM')
  await ended
  return parseTrace(await readFile(trace, 'utf8'))
}

const isData = ({ file }: SystemCall): boolean => file.endsWith('/data.mdb')

/** The responses that left before the pages with their session were on the disk. */
function unprovenPages(calls: SystemCall[]): number[] {
  return unproven(calls, REQUESTS, isData, (call) => SYNCS.has(call.name) && isData(call))
}

test(
  "with durability 'power' no response leaves before its pages are on the disk",
  needs('strace'),
  async (t) => {
    t.same(unprovenPages(await traceServer(t, 'power')), [])
  }
)

test(
  "the same look at durability 'process' finds responses that do not wait for the disk",
  needs('strace'),
  async (t) => {
    t.ok(unprovenPages(await traceServer(t, 'process')).length > 0)
  }
)
