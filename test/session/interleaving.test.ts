import fc from 'fast-check'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import { test } from 'tap'
import type { Session } from '../../lib/index.js'
import { handleOf } from '../../lib/record/handle.js'
import { recordKey } from '../../lib/store/format/keys.js'
import { decodeRecord } from '../../lib/store/format/record-codec.js'
import { loadBinding } from '../../lib/store/rocksdb/engine/binding.js'
import { RecordReader } from '../../lib/store/rocksdb/engine/record-reader.js'
import { until } from '../../scripts/servers/until.js'
import { createApp, temporaryFolder } from '../support/app.js'
import { Gate } from '../support/gate.js'
import { openApplicationDatabase } from '../support/rocksdb.js'

const RUNS = 1000
/** What may happen next, and how often: much that can go wrong needs requests that live long. */
const WEIGHTS = {
  ...{ open: 6, end: 4, turn: 3, letGo: 3, set: 3, update: 3, mutate: 3, get: 2, pop: 1 },
  ...{ delete: 1, clear: 1, save: 1, destroy: 1, regenerate: 1, revoke: 1 }
}
type What = keyof typeof WEIGHTS
/** Which request, which key and which number matter to most. */
type Action = { what: What; who: number; key: string; n: number }

/** What a session ought to hold, as JSON. Requests that share a session share one of these. */
class ModelSession {
  readonly data = new Map<string, string>()
  readonly updating = new Set<string>()
  dead = false
  /** What it goes on as since a request has renewed it. */
  renewed: ModelSession | null = null
  /** A logout is on its way to it: whether a response still gets its cookie is a race. */
  ending = false

  beginEnd(): void {
    this.ending = true
    this.renewed?.beginEnd()
  }

  end(): void {
    this.dead = true
    this.renewed?.end()
  }
}

/** One request that stays open while the property drives it, step by step. */
class OpenRequest {
  readonly began = new Gate()
  readonly end = new Gate()
  session!: Session
  model: ModelSession | null
  /** Its session began here, or got its id here. */
  fresh = false
  updating = 0
  /** What it has begun to store and not awaited. */
  storing = 0
  /** Its session gets a new id: another renewal waits for that, and happens later. */
  renewing = false
  /** Its session had been ended by another request when its handler returned. */
  lost = false
  /** It had begun a session, and left nothing in it that is to be stored. */
  blank = false
  /** Objects that it got before: they are its own, whatever others have set since. */
  readonly objects = new Map<string, string>()

  constructor(model: ModelSession | null) {
    this.model = model
  }

  /** To a request, a session that another one ended is empty and takes nothing more. */
  get data(): Map<string, string> {
    return this.model === null || this.model.dead ? new Map() : this.model.data
  }

  begin(): ModelSession {
    if (this.model === null) this.fresh = true
    this.model ??= new ModelSession()
    return this.model
  }

  get(key: string): string | undefined {
    const text = this.data.get(key)
    if (text === undefined || !text.startsWith('{')) return text
    if (!this.objects.has(key)) this.objects.set(key, text)
    return this.objects.get(key)
  }

  set(key: string, text: string): void {
    this.begin()
    this.data.set(key, text)
    if (text.startsWith('{')) this.objects.set(key, text)
  }

  delete(key: string): boolean {
    const had = this.data.delete(key)
    if (had) this.objects.delete(key)
    return had
  }

  /** Ends its session and goes on with another, or with none. */
  move(to: ModelSession | null): void {
    if (this.model !== null) this.model.dead = true
    this.model = to
    this.fresh = to !== null
    if (to === null) this.objects.clear()
  }
}

/** Some requests of one browser, in the real thing and in the model. */
class World {
  readonly #app: FastifyInstance
  readonly #requests: OpenRequest[]
  readonly #open = new Map<number, OpenRequest>()
  #jar: { cookie: string; model: ModelSession | null } = { cookie: '', model: null }
  /** The model behind each id that the browser was ever told. */
  readonly told = new Map<string, ModelSession>()
  /** Updates whose function has begun and waits to be let go. */
  readonly #held: { gate: Gate; updated: () => Promise<void> }[] = []
  #updating = 0
  readonly #begun: Promise<unknown>[] = []
  #error: Error | null = null
  /** How often something was set too late. */
  dropped = 0

  constructor(app: FastifyInstance, requests: OpenRequest[]) {
    this.#app = app
    this.#requests = requests
  }

  /** Most actions only begin something, and the next ones run while it goes on. */
  async run({ what, who, key, n }: Action): Promise<void> {
    const request = this.#open.get(who)
    if (what === 'turn') await new Promise((done) => setImmediate(done))
    else if (what === 'letGo') await this.#letGo(n)
    else if (what === 'open' && request === undefined) await this.#begin(who)
    else if (what === 'end' && request?.updating === 0) this.#end(who, request)
    else if (request !== undefined) await this.#step(request, what, key, n)
  }

  async #begin(who: number): Promise<void> {
    const { cookie, model } = this.#jar
    const request = new OpenRequest(model?.dead ? null : model)
    this.#open.set(who, request)
    const headers = { cookie, 'x-request': String(this.#requests.push(request) - 1) }
    const answer = this.#app.inject({ url: '/', headers })
    this.#track(answer.then((response) => this.#answered(request, response)))
    await request.began.opened
    same(request.session.isNew, request.model === null)
  }

  #end(who: number, request: OpenRequest): void {
    this.#open.delete(who)
    request.lost = request.model?.dead ?? false
    request.blank = request.session.isNew && request.data.size === 0
    request.end.open()
  }

  #answered(request: OpenRequest, { statusCode, cookies }: LightMyRequestResponse): void {
    const { model, fresh, lost, blank, storing } = request
    same(statusCode, 200)
    same(storing, 0)
    const id = cookies[0]?.value
    if (id === undefined) same(fresh && !model?.dead && !model?.ending && !blank, false)
    else if (id === '') this.#jar = { cookie: '', model: null }
    else if (model === null || !fresh || lost) throw new Error('a cookie was set for nothing')
    else {
      this.#jar = { cookie: `id=${id}`, model }
      this.told.set(id, model)
    }
  }

  async #step(request: OpenRequest, what: What, key: string, n: number): Promise<void> {
    const { session, model } = request
    const gone = model?.dead ?? false
    const value = key === 'object' ? { n } : n
    if (what === 'get') same(json(session.get(key)), request.get(key))
    if (what === 'delete') same(session.delete(key), request.delete(key))
    if (what === 'mutate') this.#mutate(request, n)
    if (what === 'update') this.#update(request, key, value)
    if (what === 'save') this.#store(request, session.save())
    if (what === 'revoke' && model !== null && !gone && !session.isNew) {
      await this.#revoke(model, session)
    }
    if (what === 'pop') {
      same(json(session.pop(key)), request.get(key))
      request.delete(key)
    }
    if (what === 'clear') {
      session.clear()
      for (const name of request.data.keys()) request.delete(name)
    }
    if (what === 'set') {
      if (gone) this.dropped++
      session.set(key, value)
      request.set(key, JSON.stringify(value))
    }
    if (what === 'destroy') {
      const ending = session.destroy()
      this.#store(request, ending)
      request.move(null)
      if (model?.renewed) {
        // A logout that a renewal has overtaken ends what that has made, once it is made.
        model.beginEnd()
        await ending
        model.end()
      }
    }
    if (what === 'regenerate' && !request.renewing) {
      request.renewing = true
      const renewal = session.regenerate().finally(() => {
        request.renewing = false
      })
      this.#store(request, renewal)
      const renewed = model === null || gone ? null : new ModelSession()
      for (const [name, text] of request.data) renewed?.data.set(name, text)
      if (model !== null && renewed !== null) model.renewed = renewed
      request.move(renewed)
    }
  }

  #mutate(request: OpenRequest, n: number): void {
    const object = request.session.get<{ n: number }>('object')
    const before = request.get('object')
    same(json(object), before)
    if (object === undefined) return
    object.n = n
    if (json(object) === before) return
    // Asking makes the session look, and so settles when the change is applied.
    same(request.session.isModified, true)
    request.set('object', JSON.stringify(object))
  }

  /** Its function takes its time, and other actions come between. */
  #update(request: OpenRequest, key: string, value: unknown): void {
    const model = request.begin()
    request.updating++
    this.#updating++
    const updated = request.session.update<unknown, string>(key, async (old) => {
      // It gets what is there now, not an object that this request got before.
      same(json(old), request.data.get(key))
      same(model.updating.has(key), false)
      model.updating.add(key)
      const gate = new Gate()
      this.#held.push({ gate, updated: () => done })
      await gate.opened
      model.updating.delete(key)
      request.set(key, JSON.stringify(value))
      return value
    })
    const done = updated
      .finally(() => {
        request.updating--
        this.#updating--
      })
      .then(() => {})
    this.#track(done)
  }

  async #letGo(which: number): Promise<void> {
    if (this.#held.length === 0) return
    const [held] = this.#held.splice(which % this.#held.length, 1)
    held?.gate.open()
    await held?.updated()
  }

  async #revoke(model: ModelSession, session: Session): Promise<void> {
    let revoked = false
    const revoking = this.#app.sessions.revoke(session.handle ?? '').finally(() => {
      revoked = true
    })
    this.#track(revoking.then((was) => same(was, true)))
    await until(() => revoked || session.isDestroyed)
    model.dead = true
  }

  #store(request: OpenRequest, storing: Promise<void>): void {
    request.storing++
    this.#track(storing.then(() => request.storing--))
  }

  #track(begun: Promise<unknown>): void {
    const noted = begun.catch((error: Error) => {
      this.#error ??= error
    })
    this.#begun.push(noted)
  }

  /** Ends what is under way, and passes on what went wrong. */
  async finish(): Promise<void> {
    while (this.#updating > 0) {
      await until(() => this.#held.length > 0 || this.#updating === 0)
      await this.#letGo(0).catch(() => {})
    }
    for (const [who, request] of this.#open) this.#end(who, request)
    await Promise.all(this.#begun)
    if (this.#error !== null) throw this.#error
  }
}

function same(actual: unknown, expected: unknown): void {
  if (actual !== expected) throw new Error(`got ${actual} in place of ${expected}`)
}

function json(value: unknown): string | undefined {
  return value === undefined ? undefined : JSON.stringify(value)
}

const contents = (data: ReadonlyMap<string, string>): string => [...data].sort().join()

const anyAction: fc.Arbitrary<Action> = fc.record({
  what: fc.constantFrom(
    ...Object.entries(WEIGHTS).flatMap(([what, weight]) => Array<What>(weight).fill(what as What))
  ),
  who: fc.nat(2),
  key: fc.constantFrom('a', '__proto__', 'object'),
  n: fc.integer({ min: 1, max: 9 })
})
const act = (what: What, who: number): Action => ({ what, who, key: 'object', n: 1 })

test('requests of one browser, interleaved in any way, do what the model says', async (t) => {
  const RocksDB = await loadBinding()
  const db = new RocksDB(await temporaryFolder(t), { columnFamilies: ['session'] })
  await db.ready()
  const app = await createApp(t, { db })
  const family = db.columnFamily('session')
  app.addHook('onClose', async () => {
    await family.close()
    await db.close()
  })
  const reader = new RecordReader({ db: family })
  const requests: OpenRequest[] = []
  app.get('/', async ({ session, headers }) => {
    const request = requests[Number(headers['x-request'])]
    if (request === undefined) throw new Error('nobody knows this request')
    request.session = session
    request.began.open()
    await request.end.opened
  })
  await app.ready()
  let dropped = 0

  const anyActions = fc.array(anyAction, { maxLength: 60, size: 'max' })
  const property = fc.asyncProperty(anyActions, async (actions) => {
    const before = await app.sessions.count()
    const world = new World(app, requests)
    try {
      // Two requests that share a stored session, to begin with.
      await world.run(act('open', 0))
      await world.run(act('set', 0))
      await world.run(act('end', 0))
      await until(() => world.told.size === 1)
      for (const action of [act('open', 1), act('open', 2), ...actions]) await world.run(action)
    } finally {
      await world.finish()
    }
    for (const [id, model] of world.told) {
      const handle = handleOf(id)
      const key = recordKey(handle)
      const bytes = await reader.read(key)
      const stored = bytes === null ? null : contents(decodeRecord(handle, bytes, key).data)
      same(stored, model.dead ? null : contents(model.data))
      same(await app.sessions.revoke(handle), !model.dead)
    }
    same(await app.sessions.count(), before)
    dropped += world.dropped
  })
  await fc.assert(property, { numRuns: RUNS })
  t.ok(dropped > RUNS / 10, 'some of what was set came too late')
})

for (const awaited of [false, true]) {
  test(`a save that fails is never answered with success, ${awaited ? 'awaited' : 'forgotten'}`, async (t) => {
    const { db, traffic } = await openApplicationDatabase(await temporaryFolder(t))
    const app = await createApp(t, { db })
    app.addHook('onClose', () => db.close())
    app.setErrorHandler<{ code: string }>((error, _request, reply) =>
      reply.code(503).send(`sorry: ${error.code}`)
    )
    for (const what of ['save', 'regenerate', 'destroy', 'setPrincipal'] as const) {
      app.get(`/${what}`, async ({ session }) => {
        session.set('counter', 2)
        const { writes } = traffic
        const storing = what === 'setPrincipal' ? session[what]('ann') : session[what]()
        if (awaited) await storing
        // Long enough for a rejection that nobody handles to be noticed.
        else await until(() => traffic.writes > writes)
        return 'done'
      })
    }
    app.get('/', async ({ session }) => session.set('counter', 1))
    for (const what of ['save', 'regenerate', 'destroy', 'setPrincipal']) {
      const id = (await app.inject('/')).cookies[0]?.value
      traffic.failing = 'write'
      const { statusCode, payload, cookies } = await app.inject({
        url: `/${what}`,
        headers: { cookie: `id=${id}` }
      })
      traffic.failing = null
      t.equal(statusCode, 503)
      t.equal(payload, 'sorry: SLED_SESSION_STORE_UNAVAILABLE')
      t.same(cookies, [])
      t.equal((await app.sessions.load(`id=${id}`))?.get('counter'), 1, 'stored as it was')
    }
  })
}
