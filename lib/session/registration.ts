import type { DeadlineLimits, Expiry } from '../record/expiry.js'
import type { GuardedStore } from '../store/guarded-store.js'
import type { StoreLogger } from '../store/session-store.js'
import type { BackgroundSaves } from './background-saves.js'
import type { Touches } from './touches.js'
import type { Turns, Turnstile } from './turnstile.js'

/** What all sessions of one registration have in common. */
export interface Registration extends DeadlineLimits {
  readonly sessionName: string
  readonly store: GuardedStore
  readonly log: StoreLogger
  /** Says each message once in the life of the registration. */
  readonly warnOnce: (details: object, message: string) => void
  readonly now: () => number
  readonly expiry: Expiry
  readonly rolling: boolean
  readonly alwaysSave: boolean
  /** In ms; `null` derives it from each session's lifetime. */
  readonly touchInterval: number | null
  /** In bytes. */
  readonly maxRecordSize: number
  /** Where `update` queues. */
  readonly updates: Turnstile
  /** Where requests for exclusive routes queue, by the handle of their session. */
  readonly turns: Turns
  readonly background: BackgroundSaves
  readonly touches: Touches
}

export function warnsOnce(log: StoreLogger): Registration['warnOnce'] {
  const said = new Set<string>()
  return (details, message) => {
    if (said.has(message)) return
    said.add(message)
    log.warn(details, message)
  }
}
