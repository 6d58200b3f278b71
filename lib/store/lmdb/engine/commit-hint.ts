import type { LmdbRoot } from './binding.js'

/** What the binding tells about a transaction of its own thread. */
const COMMITTED = 1
/** Flushed, committed, or about to ask for a callback; anything else is LMDB's number of an error. */
const LAST_STATUS = 2

type StartWriting = (address: number, tell: (status: number) => unknown) => unknown

/**
 * Hears when a transaction can be read by everybody, and when the thread that writes has failed for
 * good. The binding's promises wait until all is flushed, and know no earlier moment; its `env`
 * does, and is no part of its interface. So this is a hint: where it does not come, a write
 * is acknowledged when it is flushed; and nobody believes it who has not read what was written.
 */
export function watchCommits(root: LmdbRoot, committed: () => void, failed: () => void): void {
  const env = root.env as { startWriting?: StartWriting }
  const start = env.startWriting?.bind(env)
  if (start === undefined) return
  const watched: StartWriting = (address, tell) =>
    start(address, (status) => {
      const reply = tell(status)
      if (status === COMMITTED) committed()
      else if (status < 0 || status > LAST_STATUS) failed()
      return reply
    })
  Object.defineProperty(env, 'startWriting', { value: watched })
}
