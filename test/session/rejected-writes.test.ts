import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import type { FastifyInstance } from 'fastify'
import { type Test, test } from 'tap'
import type { Session } from '../../lib/index.js'
import { verify } from '../../lib/store/rocksdb/upkeep/verify.js'
import { createApp, TestClock, temporaryFolder } from '../support/app.js'
import { openApplicationDatabase, type Traffic, withDatabase } from '../support/rocksdb.js'

const RUNS = 60
/** Some of these fill the smallest cache, so that records are evicted and read again. */
const PADDING = 'x'.repeat(180_000)
const CACHE = { memory: 1024 * 1024, maxRecordSize: 1024 * 1024 }
/** Each use of a session is stored, in the background and at once: its end is near. */
const TOUCHED = { sessionEndLimit: { seconds: 9 }, touchInterval: 1 }
const KEYS = ['a', 'b', 'c']
const PRINCIPALS = ['ann', 'bob']

/** What one request does, in order and in one turn. The last of them may end or move the session. */
type Step =
  | { do: 'set'; key: string; value: number; big: boolean }
  | { do: 'delete'; key: string }
  | { do: 'regenerate'; keep: boolean | string[] }
  | { do: 'login'; principal: string | null; renew: boolean }
  | { do: 'destroy' }
  | { do: 'read' }
  | { do: 'revokeAll'; principal: string }

interface PlannedRequest {
  /** With which of the cookies that there ever were. */
  cookie: number
  /** Turns of the event loop until it acts. */
  delay: number
  steps: Step[]
}

/** Requests side by side, and which accesses to the database fail meanwhile. */
interface Round {
  requests: PlannedRequest[]
  writes: boolean[]
  reads: boolean[]
  iterators: boolean[]
  /** Turns of the event loop for which writes are held back, so that others queue behind them. */
  hold: number
}

interface State {
  data: ReadonlyMap<string, number>
  principal: string | null
}

/** What a request did to which session, in the order in which all of them did. */
interface Done {
  step: Step
  request: number
  /** Handles before and after the step. */
  from: string | null
  to: string | null
  /** Whether `to` began in it. */
  began: boolean
  /** Whether another request had ended `from`, so that nothing of it goes on in `to`. */
  ended: boolean
}

class World {
  readonly #app: FastifyInstance
  readonly #traffic: Traffic
  /** Every session there ever was, by handle; those that have ended are not in `alive`. */
  readonly ids = new Map<string, string>()
  alive = new Map<string, State>()
  #planned: PlannedRequest[] = []
  #done: Done[] = []
  rejected = 0
  succeeded = 0

  constructor(app: FastifyInstance, traffic: Traffic) {
    this.#app = app
    this.#traffic = traffic
    app.get<{ Params: { request: string } }>('/act/:request', async (request) => {
      const { session, params } = request
      await this.#act(session, Number(params.request))
    })
    addRead(app)
  }

  async play(round: Round): Promise<void> {
    this.#planned = round.requests
    this.#done = []
    const fates = {
      begin: [] as boolean[],
      write: [...round.writes],
      read: [...round.reads],
      iterator: [...round.iterators]
    }
    this.#traffic.failing = (what) => fates[what].shift() ?? false
    this.#traffic.held = { what: 'write', until: turns(round.hold) }
    const ids = [...this.ids.values(), 'never-seen']
    const responses = await Promise.all(
      round.requests.map(({ cookie }, request) =>
        this.#app.inject({
          url: `/act/${request}`,
          headers: { cookie: `id=${ids[cookie % ids.length]}` }
        })
      )
    )
    this.#traffic.failing = null
    this.#traffic.held = null
    const succeeded = responses.map(({ statusCode, headers }) => {
      if (statusCode === 503) same(headers['set-cookie'], undefined, 'the cookie of a 503')
      else same(statusCode, 200, 'status')
      return statusCode === 200
    })
    for (const was of succeeded) this[was ? 'succeeded' : 'rejected']++
    await this.#settle(succeeded)
  }

  async #act(session: Session, request: number): Promise<void> {
    const { delay, steps } = this.#planned[request] as PlannedRequest
    await turns(delay)
    const pending: Promise<unknown>[] = []
    for (const step of steps) {
      const { handle: from, isDestroyed: ended } = session
      // Deleting what is not there only looks.
      const idle = step.do === 'delete' && !session.has(step.key)
      pending.push(this.#step(session, step))
      const to = session.handle
      if (to !== null) this.ids.set(to, session.id ?? '')
      if (!idle) this.#done.push({ step, request, from, to, began: session.isNew, ended })
    }
    await Promise.all(pending)
  }

  async #step(session: Session, step: Step): Promise<unknown> {
    if (step.do === 'set') session.set(step.key, `${step.value} ${step.big ? PADDING : ''}`)
    else if (step.do === 'delete') session.delete(step.key)
    else if (step.do === 'regenerate') return session.regenerate({ keep: step.keep })
    else if (step.do === 'login') {
      return session.setPrincipal(step.principal, { renew: step.renew })
    } else if (step.do === 'destroy') return session.destroy()
    else if (step.do === 'revokeAll') return this.#app.sessions.revokeAll(step.principal)
    else session.entries()
    return undefined
  }

  /** Compares what is there with what the answers said, and goes on from there. */
  async #settle(succeeded: boolean[]): Promise<void> {
    const expected = new Map(this.alive)
    const renewed = new Map<string, string>()
    for (const [at, done] of this.#done.entries()) {
      if (succeeded[done.request] && !this.#isDropped(done, at)) apply(expected, done, renewed)
    }
    const found = await readAll(this.#app, this.ids)
    for (const { step, request } of this.#done) {
      if (step.do === 'revokeAll') this.#revoke(step.principal, expected, found, succeeded[request])
    }
    sameWorld(found, expected)
    this.alive = expected
    await checkLists(this.#app, expected)
  }

  /** What a request does to a session that is being ended, and then leaves for another, goes with it. */
  #isDropped({ request, from, to, ended }: Done, at: number): boolean {
    if (!ended || from !== to) return false
    const later = this.#done.slice(at + 1).filter((done) => done.request === request)
    return later.some((done) => done.from === from && done.to !== from)
  }

  /** It ends several sessions, one by one: a 503 may have ended some, as may have been begun since. */
  #revoke(
    principal: string,
    expected: Map<string, State>,
    found: Map<string, State>,
    succeeded = false
  ): void {
    const moved = new Set<string | null>()
    const logins = this.#done.filter(({ step }) => step.do === 'login' || step.do === 'regenerate')
    for (const { from, to } of logins) moved.add(from).add(to)
    for (const [handle] of expected) {
      const was = this.alive.get(handle)?.principal === principal
      if (succeeded && was && !moved.has(handle)) expected.delete(handle)
      else if ((was || moved.has(handle)) && !found.has(handle)) expected.delete(handle)
    }
  }
}

/**
 * What a step that succeeded has made of the sessions.
 *
 * @param renewed what sessions go on as since they got another id
 */
function apply(
  alive: Map<string, State>,
  { step, from, to, began, ended }: Done,
  renewed: Map<string, string>
): void {
  if (began && to !== null && !alive.has(to)) {
    // A new session is stored only if something was put into it.
    alive.set(to, { data: new Map(), principal: null })
  }
  const old = from === null ? undefined : alive.get(from)
  if (step.do === 'destroy') {
    // A logout wins over a renewal beside it.
    for (let at = from; at !== null; at = renewed.get(at) ?? null) alive.delete(at)
    return
  }
  if (to === null) {
    // A new session with nothing left in it has not begun.
    if (began && from !== null && !ended) alive.delete(from)
    return
  }
  if (from !== null && from !== to && !ended && old !== undefined) {
    alive.delete(from)
    alive.set(to, old)
    renewed.set(from, to)
  }
  const state = alive.get(to)
  if (state === undefined) return
  const data = new Map(state.data)
  let { principal } = state
  if (step.do === 'set') data.set(step.key, step.value)
  if (step.do === 'delete') data.delete(step.key)
  if (step.do === 'login') {
    if (principal !== null && principal !== step.principal) data.clear()
    principal = step.principal
  }
  if (step.do === 'regenerate' && step.keep !== true) {
    const { keep } = step
    principal = null
    for (const key of KEYS) if (keep === false || !keep.includes(key)) data.delete(key)
  }
  alive.set(to, { data, principal })
}

function addRead(app: FastifyInstance): void {
  app.get('/read', async ({ session }) => ({
    handle: session.handle,
    principal: session.principal,
    data: KEYS.flatMap((key) => {
      const text = session.get<string>(key)
      return text === undefined ? [] : [[key, Number.parseInt(text, 10)]]
    })
  }))
}

/** All sessions that are there, as their visitors see them. */
async function readAll(
  app: FastifyInstance,
  ids: ReadonlyMap<string, string>
): Promise<Map<string, State>> {
  const found = new Map<string, State>()
  for (const [handle, id] of ids) {
    const response = await app.inject({ url: '/read', headers: { cookie: `id=${id}` } })
    same(response.statusCode, 200, 'status when nothing fails any more')
    const { handle: there, principal, data } = response.json()
    if (there === null) continue
    same(there, handle, 'handle')
    found.set(handle, { principal, data: new Map(data) })
  }
  return found
}

/** No session is there that nobody knows, and the lists agree. */
async function checkLists(app: FastifyInstance, alive: Map<string, State>): Promise<void> {
  same(await app.sessions.count(), alive.size, 'sessions')
  for (const principal of PRINCIPALS) {
    const listed = (await app.sessions.list(principal)).map(({ handle }) => handle)
    const theirs = [...alive].filter(([, state]) => state.principal === principal)
    same(
      listed.sort().join(),
      theirs
        .map(([handle]) => handle)
        .sort()
        .join(),
      principal
    )
  }
}

function sameWorld(found: Map<string, State>, expected: Map<string, State>): void {
  same(describe(found), describe(expected), 'sessions')
}

function describe(world: Map<string, State>): string {
  return [...world]
    .map(([handle, { data, principal }]) => `${handle} ${principal} ${[...data].sort().join(' ')}`)
    .sort()
    .join('\n')
}

function same(actual: unknown, expected: unknown, what: string): void {
  if (actual !== expected) throw new Error(`${what}: got\n${actual}\nin place of\n${expected}`)
}

async function turns(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await turn()
}

const key = fc.constantFrom(...KEYS)
const change = fc.oneof(
  fc.record({
    do: fc.constant('set' as const),
    key,
    value: fc.nat(99),
    big: fc.boolean()
  }),
  fc.record({ do: fc.constant('delete' as const), key })
)
const regenerate = fc.record({
  do: fc.constant('regenerate' as const),
  keep: fc.oneof(fc.boolean(), fc.subarray(KEYS))
})
const login = fc.record({
  do: fc.constant('login' as const),
  principal: fc.constantFrom(...PRINCIPALS, null),
  renew: fc.boolean()
})
const end = fc.constantFrom<Step>({ do: 'destroy' }, { do: 'read' })
const revokeAll = fc.record({
  do: fc.constant('revokeAll' as const),
  principal: fc.constantFrom(...PRINCIPALS)
})
const anySteps: fc.Arbitrary<Step[]> = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(change) },
  { weight: 3, arbitrary: fc.tuple(fc.oneof(regenerate, login, end)) },
  { weight: 3, arbitrary: fc.tuple(change, fc.oneof(regenerate, login, end)) },
  { weight: 1, arbitrary: fc.tuple(revokeAll) }
)
const anyRound: fc.Arbitrary<Round> = fc.record({
  requests: fc.array(fc.record({ cookie: fc.nat(5), delay: fc.nat(12), steps: anySteps }), {
    minLength: 1,
    maxLength: 6
  }),
  writes: fc.array(fc.boolean(), { maxLength: 4 }),
  reads: fc.array(fc.boolean(), { maxLength: 2 }),
  iterators: fc.array(fc.boolean(), { maxLength: 1 }),
  hold: fc.nat(12)
})

/** A logout that fails, while another request writes into that session and then logs in. */
const LEFT_BEHIND: Round[] = [
  [{ cookie: 0, delay: 0, steps: [{ do: 'login', principal: 'ann', renew: false } as const] }],
  [
    { cookie: 0, delay: 0, steps: [{ do: 'destroy' } as const] },
    {
      cookie: 0,
      delay: 2,
      steps: [
        { do: 'set', key: 'a', value: 0, big: false } as const,
        { do: 'login', principal: 'ann', renew: false } as const
      ]
    }
  ]
].map((requests, at) => ({ requests, writes: [at === 1], reads: [], iterators: [], hold: 3 * at }))

test('a rejected write poisons nothing', async (t) => {
  let rejected = 0
  let succeeded = 0
  const anyRounds = fc.array(anyRound, { minLength: 1, maxLength: 12, size: 'max' })
  const property = fc.asyncProperty(anyRounds, async (rounds) => {
    const path = await temporaryFolder(t)
    const now = restlessClock()
    const { world, close } = await openWorld(t, path, now)
    try {
      for (const round of rounds) await world.play(round)
    } finally {
      await close()
    }
    rejected += world.rejected
    succeeded += world.succeeded

    const app = await createApp(t, { path, now, ...TOUCHED })
    try {
      addRead(app)
      sameWorld(await readAll(app, world.ids), world.alive)
      await checkLists(app, world.alive)
    } finally {
      await app.close()
    }
    const { problems, listed } = await withDatabase(path, (db) => verify(db))
    same(problems, 0, JSON.stringify(listed))
  })
  await fc.assert(property, { numRuns: RUNS, examples: [[LEFT_BEHIND]] })
  t.ok(rejected > RUNS, `${rejected} requests were rejected`)
  t.ok(succeeded > RUNS, `${succeeded} requests succeeded`)
})

/** Goes on as often as it is asked, but not so far that a session ends. */
function restlessClock(): () => number {
  const { time } = new TestClock()
  let asked = 0
  return () => time + Math.floor(asked++ / 10)
}

async function openWorld(
  t: Test,
  path: string,
  now: () => number
): Promise<{ world: World; close: () => Promise<void> }> {
  const { db, traffic } = await openApplicationDatabase(path)
  const app = await createApp(t, { db, now, ...TOUCHED, ...CACHE })
  const close = async (): Promise<void> => {
    traffic.failing = null
    await app.close()
    await db.close()
  }
  return { world: new World(app, traffic), close }
}
