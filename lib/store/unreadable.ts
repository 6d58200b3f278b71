import { RecordCorruptError } from '../errors.js'
import { shortHandle } from '../record/handle.js'
import type { LeftOut, StoreContext, StoreLogger } from './session-store.js'

/** Counts and tells of the records that did not decode and were put aside. */
export class Quarantine {
  readonly #context: StoreContext
  count = 0

  constructor(context: StoreContext) {
    this.#context = context
  }

  /**
   * @param move takes it out of the way of every visitor, and keeps it for a person to look at;
   *   none where that is done
   */
  async put(handle: string, reason: Error, move?: () => Promise<void>): Promise<void> {
    this.count++
    this.#context.log.error(
      { session: shortHandle(handle), err: reason },
      'a corrupt session record was put in quarantine; its visitor gets a fresh session'
    )
    await move?.()
    this.#context.onQuarantine?.(handle)
  }
}

/** Tells of a record that a walk goes past. */
export function leaveOut(
  handle: string,
  error: Error,
  { log, leftOut }: { readonly log: StoreLogger; readonly leftOut: LeftOut }
): void {
  const session = shortHandle(handle)
  log.error({ session, err: error }, 'a session record that cannot be read was left out')
  leftOut(session)
}

/** What a walk reads of a session; `null` for one that it goes past, as it does not decode. */
export async function orLeftOut<T>(
  handle: string,
  walk: { readonly log: StoreLogger; readonly leftOut: LeftOut },
  read: () => Promise<T | null>
): Promise<T | null> {
  try {
    return await read()
  } catch (error) {
    if (!(error instanceof RecordCorruptError)) throw error
    leaveOut(handle, error, walk)
    return null
  }
}
