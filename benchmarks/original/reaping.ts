import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { folderSize } from '../../lib/store/rocksdb/engine/engine-stats.js'
import { fillDatabase } from '../fill.js'
import { closedLoop } from '../http-client.js'
import { fillOriginal, Server, type Side } from './servers.js'
import { CONNECTIONS, countingVisitors, DAY_SECONDS } from './workloads.js'

const QUIET_SECONDS = 3

/** One run of the reaper over so many sessions, with visitors on the server. */
export interface Reaping {
  readonly alive: number
  readonly expired: number
  /** How long the run took, in ms. */
  readonly milliseconds: number
  /** Of visitors, in ms: without it, and while it ran. */
  readonly quiet: { readonly p99: number; readonly most: number }
  readonly meanwhile: { readonly p99: number; readonly most: number }
  /** Of the folder, in bytes. */
  readonly disk: number
}

export async function fill(
  side: Side,
  count: number,
  expired: number
): Promise<{ folder: string; disk: number }> {
  let folder: string
  if (side === 'ours') folder = await fillDatabase(count, expired)
  else {
    folder = await mkdtemp(join(tmpdir(), 'sled-original-'))
    fillOriginal(folder, count, expired)
  }
  return { folder, disk: await folderSize(folder) }
}

/** Deletes `expired` sessions among so many others while 50 visitors count. */
export async function reap(side: Side, alive: number, expired: number): Promise<Reaping> {
  const { folder, disk } = await fill(side, alive + expired, expired)
  const server = await Server.start(side, { folder, expirySeconds: DAY_SECONDS })
  try {
    const quiet = await visitUntil(server.port, wait(QUIET_SECONDS))
    const begun = fetch(`http://127.0.0.1:${server.port}/reap`).then((answer) => answer.text())
    const meanwhile = await visitUntil(server.port, begun)
    return { alive, expired, milliseconds: Number(await begun), quiet, meanwhile, disk }
  } finally {
    await server.kill()
    await rm(folder, { recursive: true, force: true })
  }
}

/** What is left on disk when all of so many have expired and the reaper was there. */
export async function reapAll(side: Side, count: number): Promise<{ full: number; left: number }> {
  const { folder, disk: full } = await fill(side, count, count)
  const server = await Server.start(side, { folder })
  try {
    await fetch(`http://127.0.0.1:${server.port}/reap`).then((answer) => answer.text())
    // Both give space back in the background.
    await wait(2 * QUIET_SECONDS)
    return { full, left: await folderSize(folder) }
  } finally {
    await server.kill()
    await rm(folder, { recursive: true, force: true })
  }
}

function wait(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000))
}

/** Latencies of visitors who count until something has ended. */
async function visitUntil(
  port: number,
  ending: Promise<unknown>
): Promise<{ p99: number; most: number }> {
  let ended = false
  const end = ending.finally(() => {
    ended = true
  })
  const visitors = await countingVisitors({ port })
  let at = 0
  const { latency } = await closedLoop(port, CONNECTIONS, () =>
    ended ? null : { path: '/counter', cookie: visitors[at++ % visitors.length]?.cookie ?? '' }
  )
  await end
  return { p99: latency.percentile(99) / 1000, most: latency.max / 1000 }
}
