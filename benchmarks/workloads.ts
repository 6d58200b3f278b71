import { fillDatabase, idOf } from './fill.js'
import { closedLoop, openLoop, type Ports, type Shot } from './http-client.js'
import type { Load } from './load.js'
import { CONNECTIONS, cannonade, type Measurement, measured, visitAll } from './measure.js'
import { BASELINE, OURS } from './report.js'
import type { ServerProcess } from './server-process.js'

/** How long a round is, and how much is stored. */
export interface Scale {
  readonly rounds: number
  readonly seconds: number
  /** In seconds, for each server once. */
  readonly warmUp: number
  /** Of the mix. */
  readonly sessions: number
  /** Of the cold workload. */
  readonly cold: number
  readonly expired: number
}

export interface Workload {
  readonly title: string
  readonly load: Load
  /** For those who do not take part, the documentation says why. */
  readonly takesPart: (peer: string) => boolean
  /** Databases to be filled before the first round: variables of the environment, with folders. */
  readonly prepare?: (scale: Scale) => Promise<NodeJS.ProcessEnv>
  /** As for `prepare`, before each round. */
  readonly prepareRound?: (scale: Scale) => Promise<NodeJS.ProcessEnv>
  /** Called once for each server. */
  readonly fill?: (server: ServerProcess, scale: Scale) => Promise<Visitor[]>
  readonly run: (server: ServerProcess, scale: Scale, visitors: Visitor[]) => Promise<Measurement>
}

/** Somebody with a session, whose cookie may change with each answer. */
export interface Visitor {
  cookie: string
}

const compared = (peer: string): boolean => !/stored|reaping|on LMDB|on Redis/.test(peer)

function cannon(path: string, firstVisit: string | null): Workload['run'] {
  return async (server, { seconds }) => {
    const jars = firstVisit === null ? [] : await visitAll(server.port, firstVisit)
    return cannonade(server, path, jars, seconds)
  }
}

// ---- the mix ----

async function fillByVisits({ port }: ServerProcess, { sessions }: Scale): Promise<Visitor[]> {
  return beginSessions(port, sessions)
}

/** So many first visits. */
export async function beginSessions(ports: Ports, sessions: number): Promise<Visitor[]> {
  const visitors: Visitor[] = []
  let left = sessions
  await closedLoop(ports, CONNECTIONS, () => {
    if (left-- <= 0) return null
    const answered = (cookie: string | null): void => {
      visitors.push({ cookie: cookie ?? `id=${idOf(visitors.length)}` })
    }
    return { path: '/create', cookie: '', answered }
  })
  return visitors
}

/** Draws from 0 to count - 1, the first ones most often: the n-th in proportion to 1/n. */
function zipf(count: number): () => number {
  const sums = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank++) {
    sum += 1 / (rank + 1)
    sums[rank] = sum
  }
  return () => {
    const drawn = Math.random() * sum
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((sums[middle] as number) < drawn) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** 90 % reads, 9 % counts, and 1 % that begin a session or end one that was begun so. */
export function mixture(visitors: Visitor[]): () => Shot {
  const draw = zipf(visitors.length)
  const begun: string[] = []
  return () => {
    const dice = Math.random()
    if (dice >= 0.99) {
      const ending = begun.length > 0 && Math.random() < 0.5 ? begun.pop() : undefined
      if (ending !== undefined) return { path: '/destroy', cookie: ending }
      const answered = (cookie: string | null): void => {
        if (cookie !== null) begun.push(cookie)
      }
      return { path: '/create', cookie: '', answered }
    }
    const visitor = visitors[draw()] as Visitor
    const answered = (cookie: string | null): void => {
      if (cookie !== null) visitor.cookie = cookie
    }
    return { path: dice < 0.9 ? '/read' : '/counter', cookie: visitor.cookie, answered }
  }
}

async function loop(
  server: ServerProcess,
  seconds: number,
  next: () => Shot
): Promise<Measurement> {
  await server.usage()
  const end = performance.now() + seconds * 1000
  return measured(
    server,
    await closedLoop(server.port, CONNECTIONS, () => (performance.now() < end ? next() : null))
  )
}

// ---- the open loop ----

const OPEN_LOOP_RATE = 4000
const OPEN_LOOP_SECONDS = 5

async function atFixedRate(server: ServerProcess, { warmUp }: Scale): Promise<Measurement> {
  const jars = await visitAll(server.port, '/counter')
  const cookies = jars.map((jar) => [...jar.values()].join('; '))
  let at = 0
  const next = (): Shot => {
    at = (at + 1) % cookies.length
    const mine = at
    const answered = (cookie: string | null): void => {
      if (cookie !== null) cookies[mine] = cookie
    }
    return { path: '/counter', cookie: cookies[at] as string, answered }
  }
  // Else the slowest percent would be of code that is not compiled yet.
  const warm = performance.now() + warmUp * 1000
  await closedLoop(server.port, CONNECTIONS, () => (performance.now() < warm ? next() : null))
  await server.usage()
  const hits = await openLoop(server.port, CONNECTIONS, OPEN_LOOP_RATE, OPEN_LOOP_SECONDS, next)
  return measured(server, hits)
}

export const WORKLOADS: Record<string, Workload> = {
  counter: {
    title: 'Counter: read and write in each request',
    load: 'autocannon',
    takesPart: compared,
    run: cannon('/counter', '/counter')
  },
  read: {
    title: 'Read only, as a page that needs a login',
    load: 'autocannon',
    takesPart: compared,
    run: cannon('/read', '/counter')
  },
  untouched: {
    title: 'A route that does not touch its session',
    load: 'autocannon',
    takesPart: compared,
    run: cannon('/untouched', '/counter')
  },
  create: {
    title: 'First visit: a new session in each request',
    load: 'autocannon',
    takesPart: compared,
    run: cannon('/create', null)
  },
  mix: {
    title: 'Mix: 90 % read, 9 % write, 1 % create or destroy, 100,000 sessions, Zipf',
    load: 'closed',
    takesPart: (peer) => compared(peer) && !/one cookie|signed|encrypted|files/.test(peer),
    fill: fillByVisits,
    run: (server, { seconds }, visitors) => loop(server, seconds, mixture(visitors))
  },
  big: {
    title: 'Counter in sessions of 32 KiB',
    load: 'autocannon',
    // A cookie cannot hold it.
    takesPart: (peer) => compared(peer) && !/one cookie|signed|encrypted|secure/.test(peer),
    run: cannon('/counter', '/big')
  },
  cold: {
    title: 'Cold: 1,000,000 sessions, a cache of 1 %, uniform reads',
    load: 'closed',
    takesPart: (peer) => peer === BASELINE || /1M stored/.test(peer),
    async prepare({ cold }) {
      return { COLD_FOLDER: await fillDatabase(cold, 0) }
    },
    run: (server, { seconds, cold }) =>
      loop(server, seconds, () => ({
        path: '/read',
        cookie: `id=${idOf(Math.floor(Math.random() * cold))}`
      }))
  },
  steady: {
    title: `Counter at a fixed rate of ${OPEN_LOOP_RATE.toLocaleString('en-US')}/s, open loop`,
    load: 'open',
    takesPart: (peer) => [BASELINE, OURS].includes(peer) || /power|reaping|^@fastify/.test(peer),
    // The reaper leaves nothing behind for the next round.
    async prepareRound({ expired }) {
      return { EXPIRED_FOLDER: await fillDatabase(expired, expired) }
    },
    run: atFixedRate
  }
}
