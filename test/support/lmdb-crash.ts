import { randomInt } from 'node:crypto'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { LmdbStore } from '../../lib/lmdb.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import { openDatabase } from '../../lib/store/lmdb/engine/database.js'
import { verify } from '../../lib/store/lmdb/verify.js'
import { type Child, type Lifetime, startChild } from './child.js'

const PROCESSES = 4
/** A kill comes at a random moment of this span, in ms. */
const KILL_SPAN = 200
const HOUR = 3_600_000

/** What the kills have shown so far. */
export interface LmdbCrashResult {
  kills: number
  /** Writes that were acknowledged. */
  acknowledged: number
  /** The longest time in which none of the processes that lived acknowledged a write, in ms. */
  longestStall: number
  /** What was missing, back from the dead or out of step, each in a line. */
  readonly losses: string[]
}

/** Several processes that write to one database without pause, of which one after the other is killed. */
export class LmdbCrashRun {
  readonly #lifetime: Lifetime
  readonly #path: string
  readonly #durability: 'process' | 'power'
  readonly #shared = handleOf(createSessionId())
  readonly #writers: Child[] = []
  readonly #counters = new Map<string, number>()
  readonly #ended = new Set<string>()
  readonly #marks = new Set<string>()
  #total = 0
  #lastWord = performance.now()
  readonly result: LmdbCrashResult = { kills: 0, acknowledged: 0, longestStall: 0, losses: [] }

  constructor(lifetime: Lifetime, path: string, durability: 'process' | 'power') {
    this.#lifetime = lifetime
    this.#path = path
    this.#durability = durability
  }

  async start(): Promise<void> {
    const store = await this.#open()
    const now = Date.now()
    const shared = store.create({
      handle: this.#shared,
      createdAt: now,
      lastSeenAt: now,
      expiresAt: now + HOUR
    })
    shared.apply('total', '0')
    await store.save(shared, new Map(shared.data))
    await store.close()
    for (let at = 0; at < PROCESSES; at++) this.#writers.push(await this.#startWriter(at))
  }

  /** Kills one in the midst of work and puts another in its place. */
  async round(): Promise<void> {
    await wait(randomInt(KILL_SPAN))
    const at = randomInt(PROCESSES)
    const victim = this.#writers[at]
    this.#lastWord = performance.now()
    await victim?.stop('SIGKILL')
    this.result.kills++
    this.#writers[at] = await this.#startWriter(at)
  }

  /** Kills all of them and looks at what they have left. */
  async finish(): Promise<void> {
    await Promise.all(this.#writers.map((writer) => writer.stop('SIGKILL')))
    const store = await this.#open()
    const shared = await store.read(this.#shared)
    const total = Number(shared?.data.get('total'))
    // Each process that was killed may have counted once more in each of its workers.
    const most = this.#total + 8 * (this.result.kills + PROCESSES)
    if (!(total >= this.#total && total <= most)) {
      this.#lose(`counted ${this.#total} to ${most} together, found ${total}`)
    }
    for (const mark of this.#marks) if (!shared?.data.has(mark)) this.#lose(`${mark} is gone`)
    for (const [handle, counter] of this.#counters) {
      const found = Number((await store.read(handle))?.data.get('n'))
      if (found !== counter && found !== counter + 1) {
        this.#lose(`counted ${counter}, found ${found}`)
      }
    }
    for (const handle of this.#ended) {
      if ((await store.read(handle)) !== null) this.#lose('an ended session is back')
    }
    await store.close()
    const database = await openDatabase(this.#path)
    const { problems, quarantined, listed } = await verify(database)
    await database.close()
    if (problems > 0) this.#lose(`verify: ${problems} problems: ${JSON.stringify(listed[0])}`)
    if (quarantined > 0) this.#lose(`${quarantined} records in quarantine`)
  }

  async #open(): Promise<LmdbStore> {
    const store = new LmdbStore({ path: this.#path })
    const log = { debug() {}, info() {}, warn() {}, error() {} }
    await store.open({ now: Date.now, log })
    return store
  }

  async #startWriter(at: number): Promise<Child> {
    const writer = startChild(this.#lifetime, 'test/fixtures/lmdb-writer.ts', {
      STORAGE: this.#path,
      DURABILITY: this.#durability,
      SHARED: this.#shared,
      WRITER: `writer-${at}`
    })
    const { stdout } = writer.process
    if (stdout !== null) {
      createInterface({ input: stdout }).on('line', (line) => this.#hear(line))
    }
    await writer.line(/^ready$/)
    return writer
  }

  #hear(line: string): void {
    const [what, handle = '', more = ''] = line.split(' ')
    const now = performance.now()
    this.result.longestStall = Math.max(this.result.longestStall, now - this.#lastWord)
    this.#lastWord = now
    if (what !== 'ready') this.result.acknowledged++
    if (what === 'own') this.#counters.set(handle, Number(more))
    else if (what === 'total') this.#total++
    else if (what === 'mark') this.#marks.add(handle)
    else if (what === 'moved' || what === 'gone') this.#ended.add(handle)
    else if (what === 'failed') this.#lose('a process that was not killed has failed')
  }

  #lose(what: string): void {
    this.result.losses.push(`kill ${this.result.kills}, ${this.#durability}: ${what}`)
  }
}
