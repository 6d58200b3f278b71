import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import type { SledSessionOptions } from '../../lib/index.js'
import { cookieOf, createApp, listen } from './app.js'

export type Step = (request: FastifyRequest) => unknown

/** A visitor whose requests each run one step, all with the cookie that the last response set. */
export class Visitor {
  cookie = ''
  readonly #app: FastifyInstance
  readonly #url: string
  readonly #steps: Map<string, Step>

  constructor(app: FastifyInstance, url: string, steps: Map<string, Step>) {
    this.#app = app
    this.#url = url
    this.#steps = steps
  }

  /** Resolves to what the step returned. */
  async run<T>(step: (request: FastifyRequest) => T): Promise<Awaited<T>> {
    const name = String(this.#steps.size)
    let result: unknown
    this.#steps.set(name, async (request) => {
      result = await step(request)
    })
    const response = await fetch(`${this.#url}/${name}`, { headers: { cookie: this.cookie } })
    if (response.status !== 200) throw new Error(await response.text())
    this.cookie = cookieOf(response) ?? this.cookie
    await response.arrayBuffer()
    return result as Awaited<T>
  }

  another(): Visitor {
    return new Visitor(this.#app, this.#url, this.#steps)
  }
}

export async function visitor(t: Test, options: SledSessionOptions = {}): Promise<Visitor> {
  const app = await createApp(t, options)
  const steps = new Map<string, Step>()
  app.get<{ Params: { step: string } }>('/:step', async (request) => {
    await steps.get(request.params.step)?.(request)
    return 'done'
  })
  return new Visitor(app, await listen(app), steps)
}

/** So that `run` can stand by itself. */
export function bind(who: Visitor): { run: Visitor['run']; who: Visitor } {
  return { run: (step) => who.run(step), who }
}
