import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { settles } from '../../scripts/servers/until.js'
import { cookieOf } from './app.js'

/** A count in each request, that no other request may undo. */
export function addCount(app: FastifyInstance): void {
  app.get('/count', async ({ session }) => ({
    count: await session.update('counter', (counter = 0) => counter + 1)
  }))
  app.get('/look', async ({ session }) => ({ count: session.get('counter') ?? 0 }))
}

/** How long somebody waits after a 503, in ms. */
const RETRY = 20

/** Somebody who counts without a pause, and knows what was acknowledged. */
export class CountingVisitor {
  cookie = ''
  acknowledged = 0
  /** Requests that were not answered with 200: what became of them is unknown. */
  refused = 0
  /** When a request was last refused, by the clock of `performance`; 0 if never. */
  lastRefusal = 0
  readonly urls: readonly string[]
  #next = 0

  /** @param urls of the servers, to which the requests go in turn */
  constructor(urls: readonly string[]) {
    this.urls = urls
  }

  /** The name of the session in the store. */
  get id(): string {
    return this.cookie.slice(this.cookie.indexOf('=') + 1)
  }

  async get(path: string): Promise<{ status: number; count: number; setsCookie: boolean }> {
    const url = this.urls[this.#next++ % this.urls.length]
    const response = await fetch(`${url}${path}`, { headers: { cookie: this.cookie } })
    const cookie = cookieOf(response)
    if (cookie !== undefined) this.cookie = cookie
    const { count = 0 } = (await response.json()) as { count?: number }
    return { status: response.status, count, setsCookie: cookie !== undefined }
  }

  async count(): Promise<number> {
    const { status } = await this.get('/count')
    if (status === 200) this.acknowledged++
    else {
      this.refused++
      this.lastRefusal = performance.now()
    }
    return status
  }
}

/** So many of them. */
export class CountingVisitors {
  readonly all: readonly CountingVisitor[]
  /** What else than 200 and 503 was answered. */
  readonly unexpected: number[] = []
  #counting: Promise<unknown> = Promise.resolve()
  #counts = false

  private constructor(all: CountingVisitor[]) {
    this.all = all
  }

  /** Each has a session. */
  static async arrive(urls: readonly string[], count: number): Promise<CountingVisitors> {
    const all = Array.from({ length: count }, () => new CountingVisitor(urls))
    for (const visitor of all) {
      const status = await visitor.count()
      if (status !== 200) throw new Error(`a visitor was received with ${status}`)
    }
    return new CountingVisitors(all)
  }

  get acknowledged(): number {
    return this.all.reduce((sum, { acknowledged }) => sum + acknowledged, 0)
  }

  get refused(): number {
    return this.all.reduce((sum, { refused }) => sum + refused, 0)
  }

  /** They count until `stop`. */
  start(): void {
    this.#counts = true
    this.#counting = Promise.all(this.all.map((visitor) => this.#count(visitor)))
  }

  async stop(): Promise<void> {
    this.#counts = false
    await this.#counting
  }

  async #count(visitor: CountingVisitor): Promise<void> {
    while (this.#counts) {
      const status = await visitor.count()
      if (status === 503) await pause(RETRY)
      else if (status !== 200) this.unexpected.push(status)
    }
  }

  /** What was acknowledged is there, and nothing was done that nobody asked for. */
  async check(t: Test): Promise<void> {
    t.same(this.unexpected, [], 'every answer was 200 or 503')
    const wrong: string[] = []
    for (const visitor of this.all) {
      let count = 0
      // The client may not have connected again yet.
      await settles(async () => {
        const answer = await visitor.get('/look')
        count = answer.count
        return answer.status === 200
      })
      const most = visitor.acknowledged + visitor.refused
      if (count < visitor.acknowledged || count > most) {
        wrong.push(`${visitor.acknowledged} to ${most} counts, and ${count} stored`)
      }
    }
    t.same(wrong, [], `of ${this.acknowledged} acknowledged counts none is lost`)
  }
}
