import { randomInt } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { closedLoop } from '../http-client.js'
import { Server, type Side } from './servers.js'

const VISITORS = 24
/** A kill comes at a random moment of this span, in ms. */
const KILL_AFTER_LEAST = 300
const KILL_AFTER_MOST = 1500
const PARALLEL = 200
const PARALLEL_SESSIONS = 10

/** What was acknowledged before kills, and how much of that the next server no longer knew. */
export interface KillResult {
  readonly kills: number
  readonly acknowledged: number
  readonly lost: number
  /** Sessions that the next server did not know at all. */
  readonly sessionsLost: number
}

interface Counting {
  cookie: string
  /** How many counts were answered. */
  answered: number
}

interface Answer {
  readonly counter: number
  readonly cookie: string | null
}

async function visit(port: number, path: string, cookie: string): Promise<Answer> {
  const headers: Record<string, string> = cookie === '' ? {} : { cookie }
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers })
  const body = await response.text()
  if (!response.ok) throw new Error(`${path}: ${response.status}`)
  const [set] = response.headers.getSetCookie()
  return {
    counter: Number(/\d+/.exec(body)?.[0]),
    cookie: set === undefined ? null : (set.split(';', 1)[0] ?? '')
  }
}

async function count(port: number, visitor: Counting): Promise<void> {
  const { cookie } = await visit(port, '/counter', visitor.cookie)
  if (cookie !== null) visitor.cookie = cookie
  visitor.answered++
}

async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'sled-original-'))
  try {
    return await work(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Kills a server under load, starts it again, and asks for everything that it had acknowledged. */
export function killOften(side: Side, kills: number): Promise<KillResult> {
  return withFolder(async (folder) => {
    let acknowledged = 0
    let lost = 0
    let sessionsLost = 0
    const conditions = { folder, expirySeconds: 3600 }
    for (let round = 0; round < kills; round++) {
      const server = await Server.start(side, conditions)
      const visitors = Array.from({ length: VISITORS }, () => ({ cookie: '', answered: 0 }))
      const working = visitors.map((visitor) => countUntilKilled(server.port, visitor))
      await wait(randomInt(KILL_AFTER_LEAST, KILL_AFTER_MOST))
      await server.kill()
      await Promise.all(working)
      const next = await Server.start(side, conditions)
      for (const { cookie, answered } of visitors) {
        const known = cookie === '' ? 0 : (await visit(next.port, '/read', cookie)).counter
        acknowledged += answered
        lost += Math.max(0, answered - known)
        if (answered > 0 && known === 0) sessionsLost++
      }
      await next.kill()
    }
    return { kills, acknowledged, lost, sessionsLost }
  })
}

async function countUntilKilled(port: number, visitor: Counting): Promise<void> {
  try {
    for (;;) await count(port, visitor)
  } catch {
    // The kill.
  }
}

/** How many of 200 requests with one cookie, sent at once, a session has counted, for ten sessions. */
export function countInParallel(side: Side): Promise<{ sent: number; counted: number }> {
  return withFolder(async (folder) => {
    const server = await Server.start(side, { folder, expirySeconds: 3600 })
    let counted = 0
    for (let session = 0; session < PARALLEL_SESSIONS; session++) {
      const visitor = { cookie: '', answered: 0 }
      await count(server.port, visitor)
      let left = PARALLEL
      // By connections that are open already, so that the server has all of them at once.
      await closedLoop(server.port, PARALLEL, () =>
        left-- > 0 ? { path: '/counter', cookie: visitor.cookie } : null
      )
      counted += (await visit(server.port, '/read', visitor.cookie)).counter - 1
    }
    await server.kill()
    return { sent: PARALLEL * PARALLEL_SESSIONS, counted }
  })
}

/** Whether a session that is logged out while a request of it is under way is alive afterwards. */
export function logOutDuringRequest(side: Side): Promise<{ alive: boolean }> {
  return withFolder(async (folder) => {
    const server = await Server.start(side, { folder, expirySeconds: 3600 })
    const visitor = { cookie: '', answered: 0 }
    await count(server.port, visitor)
    const slow = visit(server.port, '/slow', visitor.cookie)
    await wait(100)
    await visit(server.port, '/destroy', visitor.cookie)
    await slow
    const { counter } = await visit(server.port, '/read', visitor.cookie)
    await server.kill()
    return { alive: counter > 0 }
  })
}
