import { setImmediate } from '../timers.js'

/** What is stored outside any response, so that a server that closes can wait for it. */
export class BackgroundSaves {
  readonly #planned = new Set<() => Promise<void>>()
  readonly #running = new Set<Promise<void>>()

  /** Runs it at the end of the turn, or when the server closes if that is earlier. It never rejects. */
  plan(save: () => Promise<void>): void {
    this.#planned.add(save)
    setImmediate(() => this.#run(save))
  }

  /** Waits for it when the server closes. It never rejects. */
  add(saving: Promise<void>): void {
    const running = saving.finally(() => this.#running.delete(running))
    this.#running.add(running)
  }

  /** Resolves when all that was to be stored is, or has failed. */
  async settled(): Promise<void> {
    for (const save of this.#planned) this.#run(save)
    while (this.#running.size > 0) await Promise.all(this.#running)
  }

  #run(save: () => Promise<void>): void {
    if (this.#planned.delete(save)) this.add(save())
  }
}
