import fc from 'fast-check'
import type { FastifyInstance, FastifyRequest, LightMyRequestResponse } from 'fastify'
import { test } from 'tap'
import type { Session } from '../lib/index.js'
import { createApp } from './support/app.js'

/** What a session ought to hold. Requests that share a session share one of these. */
class ModelSession {
  readonly data = new Map<string, number>()
  dead = false
  stored = false
}

type Step =
  | { what: 'set' | 'update'; key: string; value: number }
  | { what: 'get' | 'delete' | 'pop'; key: string }
  | { what: 'clear' | 'save' | 'destroy' | 'regenerate' | 'revoke' }

type Action = { who: number; what: 'open' | 'end' } | ({ who: number } & Step)

/** One request that stays open while the property drives it, step by step. */
class OpenRequest {
  readonly #answer: Promise<LightMyRequestResponse>
  #finish: () => void = () => {}
  session!: Session
  readonly ready: Promise<void>
  model: ModelSession | null

  constructor(
    app: FastifyInstance,
    handlers: Map<string, Handler>,
    cookie: string,
    model: ModelSession | null
  ) {
    this.model = model
    const name = String(handlers.size)
    this.ready = new Promise((resolve) => {
      handlers.set(name, async (request) => {
        this.session = request.session
        await new Promise<void>((finish) => {
          this.#finish = finish
          resolve()
        })
      })
    })
    this.#answer = app
      .inject({ url: '/', headers: { cookie, 'x-name': name } })
      .then((answer) => answer)
  }

  end(): Promise<LightMyRequestResponse> {
    this.#finish()
    return this.#answer
  }
}

type Handler = (request: FastifyRequest) => Promise<void>

/** Some requests of one browser, in the real thing and in the model. */
class World {
  readonly #open = new Map<number, OpenRequest>()
  readonly #app: FastifyInstance
  readonly #handlers: Map<string, Handler>
  #jar: { cookie: string; model: ModelSession | null } = { cookie: '', model: null }
  /** All that a browser was ever told, for the check at the end. */
  readonly #told: { cookie: string; model: ModelSession }[] = []

  constructor(app: FastifyInstance, handlers: Map<string, Handler>) {
    this.#app = app
    this.#handlers = handlers
  }

  async run(action: Action): Promise<void> {
    const request = this.#open.get(action.who)
    if (action.what === 'open') {
      if (request === undefined) await this.#begin(action.who)
      return
    }
    if (request === undefined) return
    if (action.what === 'end') await this.#end(action.who, request)
    else await this.#step(request, action as Step)
  }

  async #begin(who: number): Promise<void> {
    const { cookie, model } = this.#jar
    const live = model !== null && !model.dead ? model : null
    const request = new OpenRequest(this.#app, this.#handlers, cookie, live)
    this.#open.set(who, request)
    await request.ready
  }

  async #step(request: OpenRequest, step: Step): Promise<void> {
    const { session } = request
    // To this request, a session that another one ended is empty, and takes nothing more.
    const gone = request.model?.dead ?? false
    const data = gone ? new Map<string, number>() : (request.model?.data ?? new Map())
    switch (step.what) {
      case 'get':
        same(session.get(step.key), data.get(step.key))
        break
      case 'pop':
        same(session.pop(step.key), data.get(step.key))
        data.delete(step.key)
        break
      case 'delete':
        same(session.delete(step.key), data.delete(step.key))
        break
      case 'clear':
        session.clear()
        data.clear()
        break
      case 'set':
        session.set(step.key, step.value)
        if (!gone) this.#own(request).data.set(step.key, step.value)
        break
      case 'update':
        await session.update<number>(step.key, (value = 0) => value + step.value)
        if (!gone) {
          const { data: own } = this.#own(request)
          own.set(step.key, (own.get(step.key) ?? 0) + step.value)
        }
        break
      case 'save':
        await session.save()
        if (request.model !== null && !gone) request.model.stored = true
        break
      case 'destroy':
        await session.destroy()
        if (request.model !== null) request.model.dead = true
        request.model = null
        break
      case 'regenerate':
        await session.regenerate()
        request.model = this.#renewed(request.model)
        break
      case 'revoke':
        if (request.model?.stored) {
          await this.#app.sessions.revoke(session.handle ?? '')
          request.model.dead = true
        }
    }
  }

  #own(request: OpenRequest): ModelSession {
    request.model ??= new ModelSession()
    return request.model
  }

  #renewed(old: ModelSession | null): ModelSession | null {
    if (old === null || old.dead) return null
    const fresh = new ModelSession()
    for (const [key, value] of old.data) fresh.data.set(key, value)
    fresh.stored = old.stored
    old.dead = true
    return fresh
  }

  async #end(who: number, request: OpenRequest): Promise<void> {
    this.#open.delete(who)
    const answer = await request.end()
    same(answer.statusCode, 200)
    const [set] = answer.cookies
    if (set === undefined) return
    if (set.value === '') {
      this.#jar = { cookie: '', model: null }
      return
    }
    const { model } = request
    if (model === null || model.dead) throw new Error('a cookie was set for a session that is gone')
    model.stored = true
    this.#jar = { cookie: `id=${set.value}`, model }
    this.#told.push({ cookie: this.#jar.cookie, model })
  }

  /** What is stored is what the model says, and nothing that ended is there. */
  async check(): Promise<void> {
    for (const [who, request] of this.#open) await this.#end(who, request)
    for (const { cookie, model } of this.#told) {
      const session = await this.#app.sessions.load(cookie)
      same(session === null, model.dead)
      await session?.reload()
      if (session !== null) {
        same(JSON.stringify(session.entries().sort()), JSON.stringify([...model.data].sort()))
      }
    }
  }
}

function same(actual: unknown, expected: unknown): void {
  if (actual !== expected) throw new Error(`got ${actual} in place of ${expected}`)
}

const key = fc.constantFrom('a', 'b', '__proto__')
const who = fc.nat(2)
const value = fc.integer({ min: 1, max: 9 })
const plain = <T extends string>(...names: T[]) =>
  fc.record({ who, what: fc.constantFrom(...names) })
const keyed = <T extends string>(...names: T[]) =>
  fc.record({ who, what: fc.constantFrom(...names), key })
const valued = <T extends string>(...names: T[]) =>
  fc.record({ who, what: fc.constantFrom(...names), key, value })
/** Most of what can go wrong needs a session that several requests share. */
const ONE_STORED: Action[] = [
  { who: 0, what: 'open' },
  { who: 0, what: 'set', key: 'a', value: 1 },
  { who: 0, what: 'end' },
  { who: 1, what: 'open' },
  { who: 2, what: 'open' }
]
const anyAction: fc.Arbitrary<Action> = fc.oneof(
  { weight: 6, arbitrary: plain('open') },
  { weight: 4, arbitrary: plain('end') },
  { weight: 6, arbitrary: valued('set', 'update') },
  { weight: 4, arbitrary: keyed('get', 'delete', 'pop') },
  { weight: 2, arbitrary: plain('clear', 'save', 'destroy', 'regenerate', 'revoke') }
)

test('requests of one browser, interleaved in any way, do what the model says', async (t) => {
  const app = await createApp(t)
  const handlers = new Map<string, Handler>()
  app.get('/', async (request) => {
    await handlers.get(String(request.headers['x-name']))?.(request)
    return 'done'
  })
  await app.ready()
  await fc.assert(
    fc.asyncProperty(fc.array(anyAction, { maxLength: 40, size: 'max' }), async (actions) => {
      const world = new World(app, handlers)
      for (const action of [...ONE_STORED, ...actions]) await world.run(action)
      await world.check()
    }),
    { numRuns: 500 }
  )
  t.pass('500 histories')
})
