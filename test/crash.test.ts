import { type Test, test } from 'tap'
import { parseExpiryKey, recordKey } from '../lib/store/rocksdb/keys.js'
import { cookieOf, temporaryFolder } from './support/app.js'
import { startChild } from './support/child.js'
import { countKind, readDatabase } from './support/rocksdb.js'

const ROUNDS = 6
const VISITORS = 24
/** Least acknowledged requests before a kill, so that each lands in the midst of work. */
const LEAST_REQUESTS = 150

/** What one visitor was told, and so may rely on after a kill. */
interface Visitor {
  cookie: string
  /** The last counter that was acknowledged; `null` for a session that ended. */
  acknowledged: number | null
  /** The next request was sent, but the kill came before its answer. */
  underWay: boolean
  dead: string[]
}

/** One visitor's requests, until the server is gone. */
async function useSession(url: string, visitor: Visitor, done: () => void): Promise<void> {
  for (let step = 0; ; step++) {
    const path = step % 40 === 39 ? '/destroy' : step % 17 === 16 ? '/login' : '/count'
    visitor.underWay = true
    let response: Response
    let counter: number | null
    try {
      response = await fetch(url + path, { headers: { cookie: visitor.cookie } })
      counter = ((await response.json()) as { counter: number | null }).counter
    } catch {
      return
    }
    if (path !== '/count') visitor.dead.push(visitor.cookie)
    visitor.cookie = cookieOf(response) ?? visitor.cookie
    visitor.acknowledged = counter
    visitor.underWay = false
    done()
  }
}

async function checkVisitor(t: Test, url: string, visitor: Visitor): Promise<void> {
  const read = async (cookie: string): Promise<number | null> => {
    const response = await fetch(`${url}/read`, { headers: { cookie } })
    return ((await response.json()) as { counter: number | null }).counter
  }
  for (const cookie of visitor.dead) {
    if (cookie !== visitor.cookie) t.equal(await read(cookie), null, 'what was ended stays ended')
  }
  const { acknowledged, underWay } = visitor
  if (acknowledged === null) return
  const counter = await read(visitor.cookie)
  // A request that was under way may have counted, renewed or destroyed; nothing else may differ.
  if (underWay) t.ok(counter === null || counter - acknowledged <= 1)
  else t.equal(counter, acknowledged)
  if (counter !== null) t.ok(counter >= acknowledged, 'nothing acknowledged is lost')
}

test('after kill -9 under load every acknowledged change is there, and nothing ended is back', async (t) => {
  const path = await temporaryFolder(t)
  let visitors: Visitor[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const server = startChild(t, 'test/fixtures/server.ts', { STORAGE: path })
    const [, url = ''] = await server.line(/listening on (.*)/)
    for (const visitor of visitors) await checkVisitor(t, url, visitor)

    visitors = Array.from({ length: VISITORS }, () => {
      return { cookie: '', acknowledged: null, underWay: false, dead: [] }
    })
    let answered = 0
    const limit = LEAST_REQUESTS + Math.floor(Math.random() * LEAST_REQUESTS)
    const working = visitors.map((visitor) =>
      useSession(url, visitor, () => {
        if (++answered === limit) server.process.kill('SIGKILL')
      })
    )
    const shortLived = (async () => {
      for (;;) await fetch(`${url}/short`)
    })().catch(() => {})
    await Promise.all([...working, shortLived])
    t.ok(answered >= limit, `${answered} requests were answered before the kill`)
  }

  const entries = await readDatabase(path)
  const keys = new Set(entries.map(([key]) => key.toString('hex')))
  const filed = entries.filter(([key]) => key[0] === 2).map(([key]) => parseExpiryKey(key).handle)
  t.equal(new Set(filed).size, filed.length, 'no session is in the expiry index twice')
  t.equal(filed.length, countKind(entries, 1), 'each record is in it')
  t.ok(filed.every((handle) => keys.has(recordKey(handle).toString('hex'))))
  t.equal(countKind(entries, 4), 0, 'no record was torn')
})
