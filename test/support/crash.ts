import { randomInt } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { openReadOnly } from '../../lib/store/rocksdb/engine/database.js'
import { verify } from '../../lib/store/rocksdb/upkeep/verify.js'
import { cookieOf } from './app.js'
import { type Lifetime, startChild } from './child.js'

const WORKERS = 24
/** Least answers before a kill, so that each lands in the midst of work. */
const LEAST_ANSWERS = 100
/** A kill comes at a random moment of this span after them, in ms. */
const KILL_SPAN = 250
const PARALLEL = 3

/** What the kills have shown so far. */
export interface CrashResult {
  kills: number
  /** Changes that were answered with success before a kill. */
  acknowledged: number
  /** What was missing, back from the dead or out of step, each in a line. */
  readonly losses: string[]
}

/** What one visitor was told, and so may rely on after a kill. */
interface Visitor {
  cookie: string
  counter: number
  principal: string | null
  /** Sent, but the kill came before its answer. */
  underWay: 'count' | 'login' | 'destroy' | null
  /** How many of the counts under way have no answer. */
  unanswered: number
}

interface Answer {
  counter: number | null
  /** Whether all that belongs to the counter was stored with it. */
  whole?: boolean
  principal: string | null
}

/** One server after the other on one database, each killed under load and followed by a look. */
export class CrashRun {
  readonly #lifetime: Lifetime
  readonly #env: { STORAGE: string; DURABILITY: string; TOUCH_INTERVAL: string }
  #visitors: Visitor[] = []
  /** Cookies of sessions that were ended, and must stay so. */
  #dead: string[] = []
  readonly result: CrashResult = { kills: 0, acknowledged: 0, losses: [] }

  constructor(lifetime: Lifetime, path: string, durability: 'process' | 'power') {
    this.#lifetime = lifetime
    // Each visit is worth a write in the background, which goes out before the reaper's next run.
    this.#env = { STORAGE: path, DURABILITY: durability, TOUCH_INTERVAL: '1' }
  }

  /** Starts a server, checks what the one before had acknowledged, puts it under load, kills it. */
  async round(): Promise<void> {
    const server = startChild(this.#lifetime, 'test/fixtures/server.ts', this.#env)
    const [, url = ''] = await server.line(/listening on (.*)/)
    await this.#check(url)
    this.#visitors = []
    this.#dead = []
    const killed = server.ended()
    const before = this.result.acknowledged
    const working = [
      ...Array.from({ length: WORKERS }, () => this.#work(url)),
      this.#leaveShortLived(url)
    ]
    while (this.result.acknowledged - before < LEAST_ANSWERS) await wait(1)
    await wait(randomInt(KILL_SPAN))
    server.process.kill('SIGKILL')
    await Promise.all([...working, killed])
    this.result.kills++
    await this.#verify()
  }

  /** After the last kill: checks what that server had acknowledged. */
  async finish(): Promise<void> {
    const server = startChild(this.#lifetime, 'test/fixtures/server.ts', this.#env)
    const [, url = ''] = await server.line(/listening on (.*)/)
    await this.#check(url)
    await server.stop('SIGTERM')
    await this.#verify()
  }

  /** One visitor after the other, until the server is gone. */
  async #work(url: string): Promise<void> {
    try {
      for (;;) await this.#visit(url)
    } catch {
      // The kill.
    }
  }

  async #visit(url: string): Promise<void> {
    const visitor: Visitor = {
      cookie: '',
      counter: 0,
      principal: null,
      underWay: null,
      unanswered: 0
    }
    const steps = 1 + randomInt(12)
    for (let step = 0; step < steps; step++) {
      const draw = randomInt(100)
      const look = this.#look(url, visitor)
      if (visitor.cookie === '' || draw < 50) await this.#count(url, visitor)
      else if (draw < 70) await this.#login(url, visitor)
      else if (draw < 80) return this.#logOut(url, visitor)
      await look
    }
  }

  /** Alone, or beside what changes or ends the session: its touch must undo nothing of that. */
  async #look(url: string, { cookie }: Visitor): Promise<void> {
    if (cookie === '') return
    // Whether the server is gone, the change beside it tells.
    const answer = await this.#ask(`${url}/read`, cookie).catch(() => null)
    if (answer?.whole === false) this.#lose('half a session is seen')
  }

  /** Several at once, so that their changes share records and groups. */
  async #count(url: string, visitor: Visitor): Promise<void> {
    const first = visitor.cookie === ''
    const requests = first ? 1 : PARALLEL
    visitor.underWay = 'count'
    visitor.unanswered = requests
    const answers = Array.from({ length: requests }, async () => {
      const { counter, cookie } = await this.#ask(`${url}/count`, visitor.cookie)
      visitor.counter = Math.max(visitor.counter, counter ?? 0)
      visitor.unanswered--
      this.result.acknowledged++
      return cookie
    })
    const outcomes = await Promise.allSettled(answers)
    const [outcome] = outcomes
    if (first && outcome?.status === 'fulfilled') {
      visitor.cookie = outcome.value ?? ''
      this.#visitors.push(visitor)
    }
    if (visitor.unanswered > 0) throw new Error('the server is gone')
    visitor.underWay = null
  }

  /** A new principal renews the id. */
  async #login(url: string, visitor: Visitor): Promise<void> {
    const user = `user ${randomInt(20)}`
    visitor.underWay = 'login'
    const { cookie } = await this.#ask(`${url}/login?user=${user}`, visitor.cookie)
    this.#dead.push(visitor.cookie)
    visitor.cookie = cookie ?? ''
    visitor.principal = user
    visitor.underWay = null
    this.result.acknowledged++
  }

  async #logOut(url: string, visitor: Visitor): Promise<void> {
    visitor.underWay = 'destroy'
    await this.#ask(`${url}/destroy`, visitor.cookie)
    this.#dead.push(visitor.cookie)
    this.#visitors.splice(this.#visitors.indexOf(visitor), 1)
    this.result.acknowledged++
  }

  /** Work for the reaper, which runs all the time. */
  async #leaveShortLived(url: string): Promise<void> {
    try {
      for (;;) await this.#ask(`${url}/short`, '')
    } catch {
      // The kill.
    }
  }

  async #ask(url: string, cookie: string): Promise<Answer & { cookie: string | undefined }> {
    const response = await fetch(url, { headers: { cookie } })
    const answer = (await response.json()) as Answer
    if (!response.ok) this.#lose(`${response.status} from a healthy server`)
    return { ...answer, cookie: cookieOf(response) }
  }

  async #check(url: string): Promise<void> {
    for (const cookie of this.#dead) {
      const { counter } = await this.#ask(`${url}/read`, cookie)
      if (counter !== null) this.#lose('an ended session is back')
    }
    for (const visitor of this.#visitors) {
      const { counter, whole, principal } = await this.#ask(`${url}/read`, visitor.cookie)
      if (whole === false) this.#lose('half a session is there')
      this.#compare(visitor, counter, principal)
    }
  }

  #compare(visitor: Visitor, counter: number | null, principal: string | null): void {
    const { underWay, unanswered } = visitor
    if (counter === null) {
      // A login or logout under way may have ended it; nothing else may.
      if (underWay !== 'login' && underWay !== 'destroy') this.#lose('a session is gone')
      return
    }
    const most = visitor.counter + (underWay === 'count' ? unanswered : 0)
    if (counter < visitor.counter) this.#lose(`counted ${visitor.counter}, found ${counter}`)
    if (counter > most) this.#lose(`counted at most ${most}, found ${counter}`)
    if (principal !== visitor.principal) this.#lose('a session has another principal')
  }

  /** Past the server, and without repairing anything for the next one. */
  async #verify(): Promise<void> {
    const connection = await openReadOnly(this.#env.STORAGE, 'session')
    try {
      const { problems, quarantined, listed } = await verify(connection.db)
      if (problems > 0) this.#lose(`verify: ${problems} problems: ${JSON.stringify(listed[0])}`)
      if (quarantined > 0) this.#lose(`${quarantined} records in quarantine`)
    } finally {
      await connection.close()
    }
  }

  #lose(what: string): void {
    this.result.losses.push(`kill ${this.result.kills}, ${this.#env.DURABILITY}: ${what}`)
  }
}
