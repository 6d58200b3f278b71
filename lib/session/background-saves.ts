import { setImmediate } from '../timers.js'
import { save } from './saving.js'
import type { UnitOfWork } from './unit-of-work.js'

/** What is stored outside any response, so that a server that closes can wait for it. */
export class BackgroundSaves {
  readonly #planned = new Set<UnitOfWork>()
  readonly #running = new Set<Promise<void>>()

  /** Saves once at the end of the turn, or when the server closes if that is earlier. */
  plan(work: UnitOfWork): void {
    if (this.#planned.has(work)) return
    this.#planned.add(work)
    setImmediate(() => this.#run(work))
  }

  /** Saves now, and lets a server that closes wait for it. */
  start(work: UnitOfWork): void {
    const running = saveOrLog(work).finally(() => this.#running.delete(running))
    this.#running.add(running)
  }

  /** Resolves when all that was to be stored is, or has failed. */
  async settled(): Promise<void> {
    for (const work of this.#planned) this.#run(work)
    while (this.#running.size > 0) await Promise.all(this.#running)
  }

  #run(work: UnitOfWork): void {
    if (this.#planned.delete(work)) this.start(work)
  }
}

async function saveOrLog(work: UnitOfWork): Promise<void> {
  try {
    await save(work)
  } catch (error) {
    work.registration.log.error({ err: error }, 'a session could not be saved after its response')
  }
}
